package views

import (
	"context"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/a-h/templ"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Words are what somebody searches for, folded.
type Words []string

// NewWords returns the words of a query, which has spaces between them, each once.
func NewWords(query string) Words {
	words := strings.Fields(Fold(query))
	slices.Sort(words)
	return slices.Compact(words)
}

// In reports whether each of the words occurs in the value, as a part of a longer word, too, and in upper or lower case.
func (w Words) In(value string) bool {
	folded := Fold(value)
	for _, word := range w {
		if !strings.Contains(folded, word) {
			return false
		}
	}
	return true
}

// Fold returns text in the form in which it is searched: upper and lower case are alike in every script (Unicode's full case
// folding), and so are the ways to write an accented letter, by itself or as a letter and a mark (its form NFC).
func Fold(text string) string {
	if ascii(text) {
		return strings.ToLower(text)
	}
	// Normal first, too, because a Greek iota below a letter is folded to one beside it, wherever it is among the marks. Lower case
	// again, because Fold exchanges the cases of Cherokee letters rather than choosing one.
	return norm.NFC.String(strings.ToLower(cases.Fold().String(norm.NFC.String(text))))
}

func ascii(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
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
		b.WriteString(Fold(value[begin:end]))
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
