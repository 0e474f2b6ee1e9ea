package views

import (
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"daybook/ent"
)

// appendLine appends the message as one line of text:
//
//	ID<TAB>2026-11-20T17:42:12Z<TAB>the message, escaped<LF>
func appendLine(dst []byte, m *ent.Message) []byte {
	dst = fmt.Appendf(dst, "%d\t%s\t", m.ID, m.RecordedAt.UTC().Format(time.RFC3339))
	dst = appendEscaped(dst, m.Value)
	return append(dst, '\n')
}

// appendEscaped appends text in a form that cannot end its line, drive a terminal or change the order in which text
// is shown. A backslash begins an escape: \\, \n, \r, \t, or \u and four hexadecimal digits. What is not UTF-8
// becomes U+FFFD.
func appendEscaped(dst []byte, text string) []byte {
	for _, r := range text {
		switch {
		case r == '\\':
			dst = append(dst, `\\`...)
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case unsafeInLine(r):
			dst = fmt.Appendf(dst, `\u%04x`, r)
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}

// unsafeInLine reports whether a terminal may do something else with r than show it in its place: control characters
// (C0, DEL and C1), those that reorder text, and those that some programs take for the end of a line.
func unsafeInLine(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || r == '\ufeff'
}
