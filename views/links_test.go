package views

import (
	"strings"
	"testing"
)

func TestLinks(t *testing.T) {
	for _, marked := range []string{ // each address is in ⟦⟧
		"see ⟦https://example.org⟧",
		"⟦http://localhost:8080/?q=a&b=c#d⟧",
		"⟦HTTPS://EXAMPLE.ORG/⟧ and ⟦Http://a.b⟧",
		"Is it ⟦https://example.org/a⟧? Or ⟦https://example.org/b.html⟧... or ⟦https://example.org/c⟧!",
		"a;⟦https://example.org/a;b⟧; b,⟦https://example.org/a,b⟧, c:⟦https://example.org:1⟧:",
		"(see ⟦https://example.org/a⟧), [⟦https://example.org/b⟧], {⟦https://example.org/c⟧} and <⟦https://example.org/d⟧>",
		"⟦https://en.wikipedia.org/wiki/Go_(game)⟧ (⟦https://en.wikipedia.org/wiki/Go_(game)⟧)",
		"⟦https://example.org/a⟧)b and ⟦https://example.org/(a⟧]b and ⟦https://example.org/a⟧(",
		"[text](⟦https://example.org/a⟧) and **⟦https://example.org/a**⟧",
		`"⟦https://example.org/a⟧" and '⟦https://example.org/a⟧' and “⟦https://example.org/a⟧” and ‘⟦https://example.org/a⟧’`,
		"«⟦https://example.org/a⟧» and „⟦https://example.org/a⟧“ and `⟦https://example.org/a⟧`",
		"天気は⟦https://example.org/天気⟧。「⟦https://example.org/a⟧」と、⟦https://example.org/b⟧、（⟦https://example.org/c⟧）",
		"⟦https://example.org/⟧。次の文、⟦https://example.org/a⟧、そして⟦https://example.org/b⟧！はい",
		"⟦https://ja.wikipedia.org/wiki/東京⟧ ⟦https://grüße.example/ÿ–z⟧– ⟦https://fa.example/می\u200cخواهم⟧",
		"⟦https://example.org/it's⟧ ⟦https://example.org/100%⟧ ⟦https://user@example.org/~a/*⟧",
		"⟦http://[::1]:8080/⟧ ⟦http://127.0.0.1/⟧",
		"⟦https://example.org/a⟧\n⟦https://example.org/b⟧\t⟦https://example.org/c⟧\u00a0d",
		"⟦https://example.org/a⟧\u202egnp.b and ⟦https://example.org⟧\\@evil.example and ⟦https://a.b⟧|⟦https://c.d⟧",
		"⟦https://example.org/?to=https://example.com/⟧",
		"-⟦https://a.b⟧ ...⟦https://a.b⟧ 1⟦https://a.b⟧ é⟦https://a.b⟧",
		"http:// https://, https://… https://- http://? ://a.b http:/a.b http:a.b",
		"www.example.org anna@example.org mailto:anna@example.org ftp://example.org javascript://example.org/%0aalert(1)",
		"git+https://example.org xhttp://example.org x.https://example.org httpſ://example.org",
		"ftp://a.b/?https://c.d", // a part of another address
	} {
		text := strings.NewReplacer("⟦", "", "⟧", "").Replace(marked)
		var got strings.Builder
		done := 0
		for begin, end := range links(text) {
			got.WriteString(text[done:begin] + "⟦" + text[begin:end] + "⟧")
			done = end
		}
		if got.WriteString(text[done:]); got.String() != marked {
			t.Errorf("found %s\nwant  %s", got.String(), marked)
		}
	}
}
