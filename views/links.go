package views

import (
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"
)

// links returns where each http and https address in a text begins and ends. (mvdan.cc/xurls takes "。次の文" and invisible
// characters for parts of an address, and finds one in "git+https://…".)
func links(text string) iter.Seq2[int, int] {
	return func(yield func(begin, end int) bool) {
		for end := 0; ; {
			i := strings.Index(text[end:], "://")
			if i < 0 {
				return
			}
			scheme := schemeBefore(text[end : end+i])
			begin, host := end+i-len(scheme), end+i+len("://")
			length := addressLength(text[host:])
			end = host + length
			if scheme != "" && length > 0 && !yield(begin, end) {
				return
			}
		}
	}
}

// schemeBefore returns the "http" or "https" with which the text ends, or "". Other schemes may end with the same letters.
func schemeBefore(text string) string {
	name := text[len(strings.TrimRightFunc(text, inScheme)):]
	name = strings.TrimLeft(name, "0123456789+-.")
	if strings.EqualFold(name, "http") || strings.EqualFold(name, "https") {
		return name
	}
	return ""
}

// inScheme reports whether the name of a scheme may have r (RFC 3986, section 3.1).
func inScheme(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("+-.", r)
}

// addressLength returns how many bytes of a text, which stands behind "://", belong to the address: at least the beginning of a
// host, or nothing. A bracket that is closed but not opened is not part of it, nor is punctuation at its end.
func addressLength(text string) int {
	var open []rune // the brackets that will close those that are open
	end := strings.IndexFunc(text, func(r rune) bool {
		switch i := strings.IndexRune("([{)]}", r); {
		case i < 0:
			return endsAddress(r)
		case i < 3:
			open = append(open, rune(")]}"[i]))
		case len(open) == 0 || open[len(open)-1] != r:
			return true
		default:
			open = open[:len(open)-1]
		}
		return false
	})
	if end < 0 {
		end = len(text)
	}
	text = strings.TrimRightFunc(text[:end], endsSentence)
	if first, _ := utf8.DecodeRuneInString(text); !unicode.IsLetter(first) && !unicode.IsDigit(first) && first != '[' {
		return 0
	}
	return len(text)
}

// endsAddress reports whether no address contains r: a space, an invisible character, a quote, a bracket other than ( [ {, or
// punctuation of Chinese and Japanese, which have no spaces between sentences.
func endsAddress(r rune) bool {
	return unicode.IsSpace(r) || isUnsafe(r) || strings.ContainsRune("<>\"`|\\、。，．：；！？､｡", r) ||
		r >= utf8.RuneSelf && unicode.In(r, unicode.Ps, unicode.Pe, unicode.Pi, unicode.Pf)
}

// endsSentence reports whether r, at the end of an address, belongs to the text around it.
func endsSentence(r rune) bool {
	return strings.ContainsRune(".,;:!?'([{", r) || r >= utf8.RuneSelf && unicode.IsPunct(r)
}
