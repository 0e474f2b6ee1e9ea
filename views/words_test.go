package views

import (
	"html"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/a-h/templ"
	"golang.org/x/text/unicode/norm"

	"daybook/ent/schema"
)

func TestWords(t *testing.T) {
	for _, test := range []struct{ query, value, marked string }{
		{"world", "Hello World", "Hello [World]"},
		{"HELLO", "hello, Hello", "[hello], [Hello]"},
		{"ell", "Hello", "H[ell]o"},
		{" o  l ", "hello world", "he[llo] w[o]r[l]d"},
		{"hello moon", "hello world", "[hello] world"},
		{"ПРИВЕТ", "привет, Привет", "[привет], [Привет]"},
		{"ὀδυσσεύς", "ὈΔΥΣΣΕΎΣ", "[ὈΔΥΣΣΕΎΣ]"}, // a sigma at the end, and others
		{"strasse", "Die Straße", "Die [Straße]"},
		{"STRAẞE", "Strasse", "[Strasse]"},
		{"s", "ß", "[ß]"},
		{"ᎠᏰ", "ꭰᏸ Ꭰᏸ", "[ꭰᏸ] [Ꭰᏸ]"},
		{"𐐀", "𐐨", "[𐐨]"},
		{"café", "Cafe\u0301 noir", "[Cafe\u0301] noir"},
		{"cafe\u0301", "CAFÉ", "[CAFÉ]"},
		{"e", "é", "é"},
		{"ᾴ", "α\u0345\u0301 α\u0301\u0345", "[α\u0345\u0301] [α\u0301\u0345]"},
		{"天気", "今日は天気がいい", "今日は[天気]がいい"},
		{"気", "今日は天気がいい", "今日は天[気]がいい"},
		{"Ａ", "ａｂ", "[ａ]ｂ"},
		{"100%", "done: 100% of it", "done: [100%] of it"},
		{`a_b \`, `a_b a\b`, `[a_b] a[\]b`},
		{"<b>", "a <B>", "a [<B>]"},
	} {
		html := strings.NewReplacer("[", "<mark>", "]", "</mark>").Replace(templ.EscapeString(test.marked))
		if marked := marked(t, NewWords(test.query), test.value); marked != html {
			t.Errorf("%q in %q: %s", test.query, test.value, marked)
		}
	}
}

// TestWordsAreLookedForOnce has a query that would take half a second for one long message, and a page has many.
func TestWordsAreLookedForOnce(t *testing.T) {
	if words := NewWords(strings.Repeat("a B ", 250)); len(words) != 2 {
		t.Errorf("%d words of 2 are looked for", len(words))
	}
}

// marked returns the value as HTML, with what the words match marked.
func marked(t *testing.T, words Words, value string) string {
	t.Helper()
	return string(words.markup(value, len(value)))
}

// TestMarkedValueIsWhole searches values of characters that are folded in odd ways for parts of themselves.
func TestMarkedValueIsWhole(t *testing.T) {
	odd := []rune("aSsßẞiİıΣσςe\u0301\u0345\u0327\u0308 \n\u00a0\u034fKÅΩᾴαꭰᎠ가ᄀ\u1161\u11a8<&👩🏽\u200d\u0f71\u0f72ﬁŉǰΐ")
	for range 20_000 {
		value := make([]rune, 1+rand.N(12))
		for i := range value {
			value[i] = odd[rand.N(len(odd))]
		}
		i := rand.N(len(value))
		words := NewWords(norm.NFD.String(strings.ToUpper(string(value[i : i+1+rand.N(len(value)-i)]))))
		marked := marked(t, words, string(value))
		whole := html.UnescapeString(strings.NewReplacer("<mark>", "", "</mark>", "").Replace(marked))
		if whole != string(value) || words.in(string(value)) && !strings.Contains(marked, "<mark>") {
			t.Fatalf("%+q in %+q is marked as %+q", words, string(value), marked)
		}
	}
}

// in reports whether a search for the words, if there are any, finds the value.
func (w Words) in(value string) bool {
	folded := schema.Fold(value)
	return len(w) > 0 && !slices.ContainsFunc(w, func(word string) bool { return !strings.Contains(folded, word) })
}

// TestMarksStandWhereASearchLooks has each character with an accent: to mark words, a text is folded one character after another.
func TestMarksStandWhereASearchLooks(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !unicode.IsGraphic(r) {
			continue
		}
		text := norm.NFC.String("x" + string(r) + "\u0301y")
		if folded, _ := foldWithOrigin(text); folded != schema.Fold(text) {
			t.Errorf("%q is folded to %q, and to %q a character at a time", text, schema.Fold(text), folded)
		}
	}
}
