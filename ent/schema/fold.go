package schema

import (
	"context"
	"strings"
	"unicode/utf8"

	"entgo.io/ent"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Fold returns text in the form in which it is searched: upper and lower case are alike in every script (Unicode's full case
// folding), and so are the ways to write an accented letter, by itself or as a letter and a mark (normal form NFC). It is empty
// only if the text is.
//
// What is stored depends on it: when it changes, every message has to be folded again.
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

// foldValue sets folded whenever value is set, so that whoever creates a message cannot forget it.
func foldValue(next ent.Mutator) ent.Mutator {
	return ent.MutateFunc(func(ctx context.Context, m ent.Mutation) (ent.Value, error) {
		if value, ok := m.Field("value"); ok {
			if err := m.SetField("folded", Fold(value.(string))); err != nil {
				return nil, err
			}
		}
		return next.Mutate(ctx, m)
	})
}
