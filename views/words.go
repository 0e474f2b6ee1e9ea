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

// mark returns the value as HTML, with everything that matches a word marked. Matches that overlap or touch are marked as one.
// It is written in Go because templ would put spaces between the parts.
func (w Words) mark(value string) templ.Component {
	var html strings.Builder
	matched := w.match(value)
	for begin, end := 0, 0; begin < len(value); begin = end {
		for end < len(value) && matched[end] == matched[begin] {
			end++
		}
		text := templ.EscapeString(value[begin:end])
		if matched[begin] {
			text = "<mark>" + text + "</mark>"
		}
		html.WriteString(text)
	}
	return templ.Raw(html.String())
}

// match returns, for each byte of the value, whether it is part of a match.
func (w Words) match(value string) []bool {
	matched := make([]bool, len(value))
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
