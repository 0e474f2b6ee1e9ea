package views

import (
	"slices"
	"strings"

	"github.com/a-h/templ"
	"golang.org/x/text/unicode/norm"

	"daybook/ent/schema"
)

// Words are the words of a search, folded.
type Words []string

// NewWords returns the words of a query, which are separated by white space, each once.
func NewWords(query string) Words {
	words := strings.Fields(schema.Fold(query))
	slices.Sort(words)
	return slices.Compact(words)
}

// markup returns the shown part of a text as HTML, with its addresses as links, and with what matches a word marked, also inside a
// link. Matches that overlap or touch are marked as one. An address that is only partly shown is no link.
func (w Words) markup(text string, shown int) fragment {
	if len(w) == 0 && !strings.Contains(text, "://") {
		return fragment(templ.EscapeString(text[:shown]))
	}
	var html strings.Builder
	matched, done := w.match(text[:shown]), 0
	for begin, end := range links(text) {
		if end > shown {
			break
		}
		writeMarked(&html, text[done:begin], matched[done:begin])
		html.WriteString(`<a rel="noopener noreferrer nofollow" href="` + templ.EscapeString(text[begin:end]) + `">`)
		writeMarked(&html, text[begin:end], matched[begin:end])
		html.WriteString("</a>")
		done = end
	}
	writeMarked(&html, text[done:shown], matched[done:])
	return fragment(html.String())
}

// writeMarked writes a text as HTML, with its matched bytes marked.
func writeMarked(html *strings.Builder, text string, matched []bool) {
	for begin, end := 0, 0; begin < len(text); begin = end {
		for end < len(text) && matched[end] == matched[begin] {
			end++
		}
		part := templ.EscapeString(text[begin:end])
		if matched[begin] {
			part = "<mark>" + part + "</mark>"
		}
		html.WriteString(part)
	}
}

// match returns, for each byte of the value, whether it is part of a match.
func (w Words) match(value string) []bool {
	matched := make([]bool, len(value))
	if len(w) == 0 {
		return matched
	}
	folded, origin := foldWithOrigin(value)
	for _, word := range w {
		for next := 0; ; {
			i := strings.Index(folded[next:], word)
			if i < 0 {
				break
			}
			begin := next + i
			next = begin + len(word)
			end := next
			for end < len(folded) && origin[end] == origin[end-1] {
				end++ // a match of half of what was one character is a match of the character
			}
			for i := origin[begin]; i < origin[end]; i++ {
				matched[i] = true
			}
		}
	}
	return matched
}

// foldWithOrigin folds the value. The origin of a byte of the result is where the character from which it comes, a letter with its
// marks, begins in the value; the last origin is the value's end.
func foldWithOrigin(value string) (folded string, origin []int) {
	var b strings.Builder
	for begin := 0; begin < len(value); {
		end := begin + norm.NFC.NextBoundaryInString(value[begin:], true)
		b.WriteString(schema.Fold(value[begin:end]))
		for len(origin) < b.Len() {
			origin = append(origin, begin)
		}
		begin = end
	}
	return b.String(), append(origin, len(value))
}
