package views

import (
	"context"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/a-h/templ"
	"golang.org/x/text/unicode/norm"

	"daybook/ent/schema"
)

// Words are what somebody searches for, folded.
type Words []string

// NewWords returns the words of a query, which has spaces between them, each once.
func NewWords(query string) Words {
	words := strings.Fields(schema.Fold(query))
	slices.Sort(words)
	return slices.Compact(words)
}

// part is a part of a value, which has been found or has not.
type part struct {
	text  string
	found bool
}

// parts divides the value where the words begin and end in it. Where words overlap, or stand side by side, they are one part.
func (w Words) parts(value string) []part {
	folded, origin := foldWithOrigin(value)
	found := make([]bool, len(value))
	for _, word := range w {
		for from, to := range occurrences(folded, word) {
			last := origin[to-1]
			for to < len(folded) && origin[to] == last {
				to++ // half of what was one character cannot be found without the other half
			}
			for i := origin[from]; i < origin[to]; i++ {
				found[i] = true
			}
		}
	}
	var parts []part
	for begin, end := 0, 0; begin < len(value); begin = end {
		for end < len(value) && found[end] == found[begin] {
			end++
		}
		parts = append(parts, part{value[begin:end], found[begin]})
	}
	return parts
}

// occurrences yields where the word begins and ends in the text.
func occurrences(text, word string) iter.Seq2[int, int] {
	return func(yield func(from, to int) bool) {
		for end := 0; ; {
			i := strings.Index(text[end:], word)
			if i < 0 || !yield(end+i, end+i+len(word)) {
				return
			}
			end += i + len(word)
		}
	}
}

// foldWithOrigin folds the value, and tells of each byte of that, and of its end, where in the value it comes from: where the
// character begins, with the marks that belong to it.
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

// mark shows the value with what was found in it marked. There is no space between the parts, which the page would show.
func (w Words) mark(value string) templ.Component {
	return templ.ComponentFunc(func(_ context.Context, to io.Writer) error {
		for _, part := range w.parts(value) {
			shown := templ.EscapeString(part.text)
			if part.found {
				shown = "<mark>" + shown + "</mark>"
			}
			if _, err := io.WriteString(to, shown); err != nil {
				return err
			}
		}
		return nil
	})
}
