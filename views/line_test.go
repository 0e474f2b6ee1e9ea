package views

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

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

func FuzzLine(f *testing.F) {
	for _, seed := range []string{"hello", "a\nb\\n\t\r", "\x1b[31m\u009b\u202e", `\u001b`, "\u2028\ufeff", "\xff", "\U0001f44b\U000e0041"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		text, ended := strings.CutSuffix(line(value), "\n")
		fields := strings.Split(text, "\t")
		if !ended || len(fields) != 3 {
			t.Fatalf("%q is not one line of three fields", text)
		}
		for _, r := range fields[2] {
			if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) && r != '\u200c' && r != '\u200d' {
				t.Errorf("the line of %q contains %U", value, r)
			}
		}
		if got := unescape(t, fields[2]); utf8.ValidString(value) && got != value {
			t.Errorf("%q unescaped is %q, and was %q", fields[2], got, value)
		}
	})
}

// unescape undoes the escapes as the contract describes them, and fails on any other.
func unescape(t *testing.T, text string) string {
	var value bytes.Buffer
	for text != "" {
		before, escape, found := strings.Cut(text, `\`)
		value.WriteString(before)
		if !found {
			break
		}
		if escape == "" {
			t.Fatal("a backslash stands at the end")
		}
		length := 1
		switch escape[0] {
		case '\\':
			value.WriteByte('\\')
		case 'n':
			value.WriteByte('\n')
		case 'r':
			value.WriteByte('\r')
		case 't':
			value.WriteByte('\t')
		case 'u':
			length = 5
			code, err := strconv.ParseUint(escape[1:length], 16, 16)
			if err != nil {
				t.Fatal(err)
			}
			if utf16.IsSurrogate(rune(code)) { // the second one follows
				if length = 11; len(escape) < length || escape[5:7] != `\u` {
					t.Fatalf("half a surrogate pair in %q", escape)
				}
				second, err := strconv.ParseUint(escape[7:length], 16, 16)
				if err != nil {
					t.Fatal(err)
				}
				value.WriteRune(utf16.DecodeRune(rune(code), rune(second)))
				break
			}
			value.WriteRune(rune(code))
		default:
			t.Fatalf("unknown escape in %q", escape)
		}
		text = escape[length:]
	}
	return value.String()
}
