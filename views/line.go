package views

import (
	"fmt"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"daybook/ent"
)

// appendLine appends the message as one line of text:
//
//	ID<TAB>2026-11-20T17:42:12Z<TAB>the message, escaped<LF>
func appendLine(dst []byte, m *ent.Message) []byte {
	dst = strconv.AppendInt(dst, int64(m.ID), 10)
	dst = append(dst, '\t')
	dst = m.RecordedAt.UTC().AppendFormat(dst, time.RFC3339)
	dst = append(dst, '\t')
	dst = appendEscaped(dst, m.Value)
	return append(dst, '\n')
}

// appendEscaped appends text in a form that cannot end its line, drive a terminal or change the order in which text
// is shown. A backslash begins an escape: \\, \n, \r, \t, or \u and four hexadecimal digits. What is not UTF-8
// becomes U+FFFD.
func appendEscaped(dst []byte, text string) []byte {
	for text != "" {
		// Most text is nothing but such characters, and a page of it is escaped in a fifth of the time.
		plain := plainPrefix(text)
		dst = append(dst, text[:plain]...)
		if text = text[plain:]; text == "" {
			break
		}
		r, size := utf8.DecodeRuneInString(text)
		text = text[size:]
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

// plainPrefix returns how many bytes at the beginning of text are printable ASCII characters that stand for themselves.
func plainPrefix(text string) int {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '\\' {
			return i
		}
	}
	return len(text)
}

// unsafeInLine reports whether a terminal may do something else with r than show it in its place: control characters
// (C0, DEL and C1), those that reorder text, and those that some programs take for the end of a line.
func unsafeInLine(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || r == '\ufeff'
}
