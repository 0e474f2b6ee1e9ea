package schema

import (
	"context"
	"strings"
	"unicode/utf8"

	"entgo.io/ent"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Fold returns text in the form in which a search compares it: upper and lower case are the same in every script (Unicode's full
// case folding), and so are the ways to write an accented letter, as one character or as a letter and a mark (normal form NFC).
// The result is empty only if the text is.
//
// The database stores the result: if Fold changes, every message must be folded again.
func Fold(text string) string {
	if utf8.RuneCountInString(text) == len(text) { // ASCII, for which this is enough, and faster
		return strings.ToLower(text)
	}
	// NFC first, too: folding makes a letter of an iota below a Greek letter, and must find it in one place among the marks.
	// ToLower last, because folding exchanges the cases of Cherokee letters.
	return norm.NFC.String(strings.ToLower(cases.Fold().String(norm.NFC.String(text))))
}

// foldValue sets folded whenever value is set, so that no code that creates messages can forget it.
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
