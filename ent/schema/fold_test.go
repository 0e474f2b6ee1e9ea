package schema

import (
	"math/rand/v2"
	"testing"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

func TestFold(t *testing.T) {
	for _, test := range []struct{ text, folded string }{
		{"", ""},
		{"Hello, World", "hello, world"},
		{"ΟΔΥΣΣΕΥΣ οδυσσευς", "οδυσσευσ οδυσσευσ"}, // a sigma at the end, and others
		{"Ἀθῆναι ἈΘΗ͂ΝΑΙ", "ἀθῆναι ἀθῆναι"},
		{"Цапля ЦАПЛЯ", "цапля цапля"},
		{"Ё Е\u0308 й и\u0306", "ё ё й й"},
		{"Straße STRASSE STRAẞE", "strasse strasse strasse"},
		{"İstanbul I\u0307stanbul", "i\u0307stanbul i\u0307stanbul"},
		{"ısı ISI", "ısı isi"}, // as in every language but Turkish and Azerbaijani
		{"Café CAFE\u0301", "café café"},
		{"Å \u212b A\u030a", "å å å"},
		{"ﬁn 100\u00a0%", "fin 100\u00a0%"},
		{"ᎠᏰ ꭰᏸ", "ꭰᏸ ꭰᏸ"},
	} {
		if got := Fold(test.text); got != test.folded {
			t.Errorf("%q is folded to %+q, want %+q", test.text, got, test.folded)
		}
	}
}

// TestFoldOfEveryCharacter has each character beside its other cases, and in either normal form.
func TestFoldOfEveryCharacter(t *testing.T) {
	for r := rune(1); r <= unicode.MaxRune; r++ {
		folded := Fold(string(r))
		if folded == "" || Fold(folded) != folded {
			t.Errorf("%q is folded to %q, and that to %q", r, folded, Fold(folded))
		}
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			if folded != Fold(string(other)) {
				t.Errorf("%q and %q differ", r, other)
			}
		}
		text := "x" + string(r) + "y"
		if decomposed := Fold(norm.NFD.String(text)); decomposed != Fold(text) {
			t.Errorf("%q is folded to %q, and to %q if it is decomposed", text, Fold(text), decomposed)
		}
	}
}

// TestFoldOfEitherNormalForm has texts of characters that are folded in odd ways.
func TestFoldOfEitherNormalForm(t *testing.T) {
	odd := []rune("aSsßẞiİıΣσςe\u0301\u0345\u0327\u0308 \n\u00a0\u034fKÅΩᾴαꭰᎠ가ᄀ\u1161\u11a8<&👩🏽\u200d\u0f71\u0f72ﬁŉǰΐ")
	for range 20_000 {
		value := make([]rune, 1+rand.N(12))
		for i := range value {
			value[i] = odd[rand.N(len(odd))]
		}
		if a, b := Fold(norm.NFC.String(string(value))), Fold(norm.NFD.String(string(value))); a != b {
			t.Fatalf("%+q is folded to %+q or, if it is decomposed, to %+q", string(value), a, b)
		}
	}
}
