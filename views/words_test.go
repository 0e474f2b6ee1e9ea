package views

import (
	"strings"
	"testing"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

func TestWords(t *testing.T) {
	for _, test := range []struct{ query, value, marked string }{
		{"world", "Hello World", "Hello [World]"},
		{"HELLO", "hello, Hello", "[hello], [Hello]"},
		{"ell", "Hello", "H[ell]o"},
		{" o  l ", "hello world", "he[llo] w[o]r[l]d"},
		{"hello moon", "hello world", ""},
		{"ПРИВЕТ", "привет, Привет", "[привет], [Привет]"},
		{"ὀδυσσεύς", "ὈΔΥΣΣΕΎΣ", "[ὈΔΥΣΣΕΎΣ]"}, // a sigma at the end, and others
		{"strasse", "Die Straße", "Die [Straße]"},
		{"STRAẞE", "Strasse", "[Strasse]"},
		{"s", "ß", "[ß]"},
		{"ᎠᏰ", "ꭰᏸ Ꭰᏸ", "[ꭰᏸ] [Ꭰᏸ]"},
		{"𐐀", "𐐨", "[𐐨]"},
		{"café", "Cafe\u0301 noir", "[Cafe\u0301] noir"},
		{"cafe\u0301", "CAFÉ", "[CAFÉ]"},
		{"e", "é", ""},
		{"天気", "今日は天気がいい", "今日は[天気]がいい"},
		{"気", "今日は天気がいい", "今日は天[気]がいい"},
		{"Ａ", "ａｂ", "[ａ]ｂ"},
		{"100%", "done: 100% of it", "done: [100%] of it"},
		{`a_b \`, `a_b a\b`, `[a_b] a[\]b`},
		{"<b>", "a <B>", "a [<B>]"},
	} {
		words := NewWords(test.query)
		if got := words.In(test.value); got != (test.marked != "") {
			t.Errorf("%q in %q: %v", test.query, test.value, got)
			continue
		}
		var marked strings.Builder
		for _, part := range words.parts(test.value) {
			if part.found {
				marked.WriteString("[" + part.text + "]")
			} else {
				marked.WriteString(part.text)
			}
		}
		if test.marked != "" && marked.String() != test.marked {
			t.Errorf("%q in %q: %s", test.query, test.value, marked.String())
		}
	}
}

// TestFoldOfEveryCharacter has each character beside its other cases, in either normal form, and with an accent.
func TestFoldOfEveryCharacter(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !unicode.IsGraphic(r) {
			continue
		}
		text := "x" + string(r) + "y"
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			if Fold(string(r)) != Fold(string(other)) {
				t.Errorf("%q and %q differ", r, other)
			}
		}
		if folded := Fold(norm.NFD.String(text)); folded != Fold(text) {
			t.Errorf("%q is folded to %q, and to %q if it is decomposed", text, Fold(text), folded)
		}
		text = norm.NFC.String("x" + string(r) + "\u0301y")
		if folded, _ := foldWithOrigin(text); folded != Fold(text) {
			t.Errorf("%q is folded to %q, and to %q a character at a time", text, Fold(text), folded)
		}
	}
}
