package views

import (
	"testing"
	"time"

	"daybook/ent"
)

func line(value string) string {
	at := time.Date(2026, 11, 20, 18, 42, 12, 999_999_000, time.FixedZone("CET", 3600))
	return string(Messages{Messages: []*ent.Message{{ID: 7, Value: value, RecordedAt: at}}}.AppendText(nil))
}

func TestLine(t *testing.T) {
	for _, test := range []struct{ name, value, want string }{
		{"plain", "hello world", "hello world"},
		{"any script", "grüße, 世界 👋🏽 שלום", "grüße, 世界 👋🏽 שלום"},
		{"backslash", `C:\new`, `C:\\new`},
		{"what looks like an escape", `\u001b \n`, `\\u001b \\n`},
		{"line breaks", "a\nb\r\nc\rd", `a\nb\r\nc\rd`},
		{"tab", "a\tb", `a\tb`},
		{"a forged line", "x\n8\t2026-11-20T17:42:12Z\tpaid", `x\n8\t2026-11-20T17:42:12Z\tpaid`},
		{"C0", "\x01\x08\x0b\x0c\x1f", `\u0001\u0008\u000b\u000c\u001f`},
		{"a terminal's escape sequence", "\x1b]0;title\x07\x1b[2J", `\u001b]0;title\u0007\u001b[2J`},
		{"DEL", "a\x7fb", `a\u007fb`},
		{"C1", "\u0080\u0085\u009b31m\u009f", `\u0080\u0085\u009b31m\u009f`},
		{"no-break space, which is none of them", "a\u00a0b", "a\u00a0b"},
		{"embeddings and overrides", "\u202a\u202b\u202c\u202d\u202e", `\u202a\u202b\u202c\u202d\u202e`},
		{"isolates", "\u2066\u2067\u2068\u2069", `\u2066\u2067\u2068\u2069`},
		{"marks", "\u061c\u200e\u200f", `\u061c\u200e\u200f`},
		{"separators", "a\u2028b\u2029c", `a\u2028b\u2029c`},
		{"byte order mark", "\ufeffa", `\ufeffa`},
		{"invisible", "pass\u00adword\u200b\u2060", `pass\u00adword\u200b\u2060`},
		{"invisible, beyond U+FFFF", "a\U000e0041b", `a\udb40\udc41b`},
		{"zero-width joiner, which scripts and emoji need", "👩\u200d🚀", "👩\u200d🚀"},
		{"not UTF-8", "a\xffb", "a\ufffdb"},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := "7\t2026-11-20T17:42:12Z\t" + test.want + "\n"
			if got := line(test.value); got != want {
				t.Errorf("line of %q\ngot  %q\nwant %q", test.value, got, want)
			}
		})
	}
}
