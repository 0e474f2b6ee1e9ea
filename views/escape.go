package views

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// appendEscaped appends text so that it stays on its line, does not control a terminal, and is shown in its own order. The
// escapes are \\, \n, \r, \t, and \u with four hexadecimal digits, of which a character beyond U+FFFF has two, as in JSON. A
// byte that is not UTF-8 becomes U+FFFD.
func appendEscaped(dst []byte, text string) []byte {
	for {
		plain := 0 // printable ASCII is copied in one piece: it is most of the text, and this takes a fifth of the time
		for plain < len(text) && isPlain(text[plain]) {
			plain++
		}
		dst = append(dst, text[:plain]...)
		if plain == len(text) {
			return dst
		}
		r, size := utf8.DecodeRuneInString(text[plain:])
		text = text[plain+size:]
		if i := strings.IndexRune("\\\n\r\t", r); i >= 0 {
			dst = append(dst, '\\', `\nrt`[i])
		} else if isUnsafe(r) {
			for _, unit := range utf16.AppendRune(nil, r) {
				dst = fmt.Appendf(dst, `\u%04x`, unit)
			}
		} else {
			dst = utf8.AppendRune(dst, r)
		}
	}
}

func isPlain(c byte) bool { return ' ' <= c && c <= '~' && c != '\\' }

// isUnsafe reports whether a terminal may do more with r than show it: it is a control character (C0, DEL or C1), changes the
// order of text, ends a line in some programs, or is invisible. Scripts such as Persian need the two joiners.
func isUnsafe(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) && r != '\u200c' && r != '\u200d' || r == '\u2028' || r == '\u2029'
}

// appendString appends the text as a JSON string. Most texts need no escapes and are copied; encoding/json does the others,
// without its escapes for HTML.
func appendString(dst []byte, text string) []byte {
	if !needsEscapes(text) {
		dst = append(dst, '"')
		dst = append(dst, text...)
		return append(dst, '"')
	}
	buffer := bytes.NewBuffer(dst)
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // cannot fail: it is a string, written to memory
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n"))
}

// needsEscapes reports whether encoding/json would change anything in the text.
func needsEscapes(text string) bool {
	var bits byte // the bits that any of the bytes has
	for i := range len(text) {
		c := text[i]
		if c < ' ' || c == '"' || c == '\\' {
			return true
		}
		bits |= c
	}
	return bits >= utf8.RuneSelf &&
		(!utf8.ValidString(text) || strings.Contains(text, "\u2028") || strings.Contains(text, "\u2029"))
}
