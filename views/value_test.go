package views

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"daybook/ent"
)

func TestCodeAndTables(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       bool
	}{
		{"Go", "func main() {\n\tif err := run(); err != nil {\n\t\tos.Exit(1)\n\t}\n}", true},
		{"YAML", "services:\n  - name: web\n    port: 80\n    host: gate\n  - name: db", true},
		{"ls -l", "total 12\n-rw-r--r-- 1 anna anna    44 Nov 21 18:04 a.go\n-rw-r--r-- 1 anna anna  1204 Nov 21 18:04 b.go", true},
		{"columns of two spaces", "Host:  web1\nLoad:  0.3", true},
		{"tabs", "name\tsize\nbackup\t41 GB", true},
		{"diff", "--- a/main.go\n+++ b/main.go\n@@ -1,3 +1,3 @@\n func main() {\n-\tstart()\n+\trun()\n }", true},
		{"stack trace", "panic: no\n\ngoroutine 1 [running]:\nmain.f()\n\t/tmp/x.go:5 +0x1d\nmain.main()\n\t/tmp/x.go:9 +0x2f\n", true},
		{"Python's", "Traceback (most recent call last):\n  File \"x.py\", line 1, in <module>\n    f()\nError: no", true},
		{"wholly indented", "    if x:\n        y()", true},
		{"one line", "  name\tsize  date", false},
		{"a poem with an indented line", "The gate is open,\nthe garden is wide,\n    and nobody\ncomes inside.", false},
		{"a letter", "Dear Anna,\n\nthe gardener was here.\n\nYours,\nBen", false},
		{"a letter with indented paragraphs", "Dear Anna,\n\n   the gardener was here.\n\n   He will come again.\n\n   Yours", false},
		{"sentences with two spaces between", "It is done.  All is well.\nIs it?  It is!  Yes.\nHe said “no.”  Then he left.", false},
		{"spaces at the ends of lines", "one  \ntwo  \nthree\t\n", false},
		{"a list", "- milk\n- eggs\n- bread", false},
		{"a list in a list", "- milk\n  - fresh\n  - sour\n- eggs\n    * brown\n    • white", false},
		{"a table of one line", "Shopping:\nmilk   2\nand eggs", false},
		{"mostly prose", strings.Repeat("It is a line.\n", 7) + "\tone\n\ttwo\n", false},
		{"Japanese", "\u3000今日は天気がいい。\n\u3000明日も。", false},
		{"line breaks of Windows", textOf("if x {\r\n\ty()\r\n\tz()\r\n}\r\n"), true},
	} {
		if got := isCode(test.text); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}

func TestListCutsALongMessage(t *testing.T) {
	lines := func(n int) string { return strings.TrimSuffix(strings.Repeat("a line\n", n), "\n") }
	words := strings.Repeat("word ", 1000)
	link := "https://example.org/" + strings.Repeat("a", 3000)
	family := "👩🏽\u200d👩🏽\u200d👧🏽" // 8 characters
	for _, test := range []struct {
		name, text, shown, more string
	}{
		{"short", "hello", "hello", ""},
		{"24 lines", lines(24), lines(24), ""},
		{"25 lines", lines(25), lines(24), "1 more line"},
		{"1009 lines", lines(1009), lines(24), "985 more lines"},
		{"1 line and 59 newlines", "a" + strings.Repeat("\n", 59), "a" + strings.Repeat("\n", 23), "36 more lines"},
		{"2000 characters", strings.Repeat("é", 2000), strings.Repeat("é", 2000), ""},
		{"2001 characters", strings.Repeat("é", 2001), strings.Repeat("é", 2000), "1 more character"},
		{"a line of words", words, words[:1999], "3,001 more characters"},
		{"lines of words", words + "\n" + words, words[:1999], "2 more lines"},
		{"long lines", words[:1500] + "\n" + words, words[:1499], "2 more lines"},
		{"a word that ends there", strings.Repeat("a", 2000) + " b", strings.Repeat("a", 2000), "2 more characters"},
		{"graphemes", strings.Repeat(family, 251) + "b", strings.Repeat(family, 250), "9 more characters"},
		{"a grapheme that does not fit", "b" + strings.Repeat(family, 251), "b" + strings.Repeat(family, 249), "16 more characters"},
		{"an endless grapheme", "e" + strings.Repeat("\u0301", 2999), "e" + strings.Repeat("\u0301", 1999), "1,000 more characters"},
		{"a long link", "see: " + link, "see:", "3,021 more characters"},
		{"a link in CJK", strings.Repeat("天", 1990) + link, strings.Repeat("天", 1990), "3,020 more characters"},
		{"nothing but a link", link, link[:2000], "1,020 more characters"},
	} {
		shown := excerpt(test.text)
		if got := test.text[:shown]; got != test.shown || more(test.text, shown) != test.more {
			t.Errorf("%s: %d bytes are shown, %q, want %d, %q", test.name, shown, more(test.text, shown), len(test.shown), test.more)
		}
	}
	if html := Words(nil).markup(link, excerpt(link)); strings.Contains(string(html), "<a") {
		t.Error("a part of an address is a link")
	}
}

// at is when the messages of these tests were recorded.
var at = time.Date(2026, 11, 21, 17, 4, 5, 0, time.UTC)

// render returns the HTML of a list of one message.
func render(t testing.TB, value string, words Words) string {
	t.Helper()
	var page strings.Builder
	messages := []*ent.Message{{ID: 7, Value: value, RecordedAt: at}}
	if err := section("./", messages, time.UTC, words).Render(t.Context(), &page); err != nil {
		t.Fatal(err)
	}
	return page.String()
}

// own returns the HTML of a message's own page.
func own(t testing.TB, value string, zone *time.Location) string {
	t.Helper()
	var page strings.Builder
	view := Message{Message: &ent.Message{ID: 7, Value: value, RecordedAt: at}, Zone: zone}
	if err := view.HTML("../").Render(t.Context(), &page); err != nil {
		t.Fatal(err)
	}
	return page.String()
}

const anchor = `<a rel="noopener noreferrer nofollow" href="https://a.b/?c&amp;d">`

func TestEveryPageHasLinks(t *testing.T) {
	const value = "see https://a.b/?c&d."
	want := `<p class="value" dir="auto">see ` + anchor + `https://a.b/?c&amp;d</a>.</p>`
	for name, page := range map[string]string{
		"list": render(t, value, nil), "own page": own(t, value, time.UTC),
		"event": string(Message{Message: &ent.Message{ID: 7, Value: value, RecordedAt: at}, Zone: time.UTC}.Event()),
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the %s has no %s:\n%s", name, want, page)
		}
	}
	want = `s<mark>ee </mark>` + anchor + `<mark>http</mark>s://a.b/?c&amp;d</a>.`
	if page := string(Words{"ee ", "http"}.markup(value, len(value))); page != want {
		t.Errorf("with marks: %s\nwant        %s", page, want)
	}
}

func TestCodeCanBeScrolled(t *testing.T) {
	const pre = `<pre class="value code" dir="auto" tabindex="0" role="group" aria-label="Code or table">`
	const value = "\nif x {\n\ty(\"https://a.b\")\n\tz()\n}"
	for _, page := range []string{render(t, value, nil), render(t, value, Words{"y"}), own(t, value, time.UTC)} {
		if !strings.Contains(page, pre+"\n\n") {
			t.Errorf("it is no code:\n%s", page)
		}
		if got := shownText(t, page).text; got != value {
			t.Errorf("the code is %q, want %q", got, value)
		}
	}
}

func TestListLeadsToTheRestOfALongMessage(t *testing.T) {
	long := strings.Repeat("0123456789\n", 6000) + "needle"
	for _, page := range []string{render(t, long, nil), render(t, long, Words{"needle"})} {
		if len(page) > 2000 || !strings.Contains(page, `<a href="./messages/7">5,977 more lines</a>`) {
			t.Errorf("%d bytes:\n%.3000s", len(page), page)
		}
	}
	if !strings.Contains(own(t, long, time.UTC), "needle") {
		t.Error("its own page does not show it whole")
	}
	if page := render(t, "short", nil); strings.Contains(page, `class="more"`) {
		t.Errorf("a short one has more:\n%s", page)
	}
}

func TestMessageLeadsToItsPlaceInTheList(t *testing.T) {
	if page := own(t, "hello", time.UTC); !strings.Contains(page, `<a class="in-list" href="../?before=32#message-7">In the list</a>`) {
		t.Errorf("its own page does not:\n%s", page)
	}
	if page := render(t, "hello", Words{"hello"}); !strings.Contains(page, `<a class="in-list" href="./?before=32#message-7">in the list</a>`) {
		t.Errorf("a search does not:\n%s", page)
	}
	if page := render(t, "hello", nil); strings.Contains(page, "in the list") {
		t.Errorf("the list does:\n%s", page)
	}
}

func TestMessageIsTitledByItsFirstLine(t *testing.T) {
	for value, want := range map[string]string{
		"hello <world>":                       "hello &lt;world&gt;",
		"\r\n  first \r\nsecond":              "first",
		strings.Repeat("seven7 ", 20):         strings.TrimSpace(strings.Repeat("seven7 ", 11)) + "…",
		"x" + strings.Repeat("👩🏽\u200d🚀", 90): "x" + strings.Repeat("👩🏽\u200d🚀", 19) + "…",
	} {
		page := own(t, value, time.UTC)
		if !strings.Contains(page, "<title>"+want+" · Daybook</title>") || !strings.Contains(page, "<h1>Message 7</h1>") {
			t.Errorf("%q: want the title %q:\n%s", value, want, page)
		}
	}
}

func TestTimesHaveTheirZone(t *testing.T) {
	for want, zone := range map[string]*time.Location{
		"Saturday, 21 November 2026, 18:04:05 CET":       time.FixedZone("CET", 3600),
		"Saturday, 21 November 2026, 22:34:05 UTC+05:30": time.FixedZone("", 5*3600+1800),
		"Saturday, 21 November 2026, 14:04:05 UTC-03:00": time.FixedZone("-03", -3*3600),
		"Sunday, 22 November 2026, 02:04:05 JST":         time.FixedZone("JST", 9*3600),
	} {
		view := Messages{Messages: []*ent.Message{{ID: 7, Value: "hello", RecordedAt: at}}, Zone: zone}
		var page strings.Builder
		if err := view.HTML("./").Render(t.Context(), &page); err != nil {
			t.Fatal(err)
		}
		fields := strings.Split(want, " ")
		entry := fmt.Sprintf(`<time datetime="2026-11-21T17:04:05Z" title="%s">%.5s</time>`, want, fields[len(fields)-2])
		if !strings.Contains(page.String(), entry) {
			t.Errorf("the list has no %s:\n%s", entry, page.String())
		}
		if zone := `<p class="zone">Times are ` + fields[len(fields)-1] + "</p>"; strings.Count(page.String(), zone) != 1 {
			t.Errorf("the list has no %s:\n%s", zone, page.String())
		}
		if page := own(t, "hello", zone); !strings.Contains(page, ">"+want+"</time>") {
			t.Errorf("the message's page has no %s:\n%s", want, page)
		}
	}
}

func TestZonesOfAPageOnWhichTheClockChanges(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	view := Messages{Zone: berlin, Messages: []*ent.Message{{RecordedAt: at}, {RecordedAt: at.AddDate(0, -2, 0)}}}
	if got := view.zones(); got != "CET, older ones CEST" {
		t.Error(got)
	}
}

func TestFeedHasHTML(t *testing.T) {
	for value, want := range map[string]string{
		"a <b>\r\nhttps://a.b/?c&d": "<p>a &lt;b&gt;<br>\n" + strings.ReplaceAll(anchor, "\n", "") + "https://a.b/?c&amp;d</a></p>",
		"if x {\n\ty()\n\tz()\n}":   "<pre>\nif x {\n\ty()\n\tz()\n}</pre>",
	} {
		entry := Messages{Messages: []*ent.Message{{ID: 7, Value: value, RecordedAt: at}}}.Atom("./", "localhost").Entry[0]
		if entry.Content.Type != "html" || entry.Content.Body != want {
			t.Errorf("%q is %s %q\nwant %q", value, entry.Content.Type, entry.Content.Body, want)
		}
	}
}

// shown is what a reader sees of a message.
type shown struct {
	text  string
	links []string
}

// shownText parses a page, and returns what it shows of the one message on it. Only elements that are made for messages may be
// in it, and a link leads to the address that it shows.
func shownText(t testing.TB, page string) (value shown) {
	t.Helper()
	found := 0
	for node := range parsed(t, page).Descendants() {
		if class := attributeOf(node, "class"); class != "value" && class != "value code" {
			continue
		}
		found++
		value.text = textIn(node)
		for part := range node.Descendants() {
			if part.Type == html.ElementNode && part.Data != "a" && (part.Data != "mark" || len(part.Attr) != 0) {
				t.Errorf("there is a %s: %s", part.Data, page)
			}
			if part.Data != "a" || part.Type != html.ElementNode {
				continue
			}
			href := attributeOf(part, "href")
			value.links = append(value.links, href)
			scheme, _, _ := strings.Cut(strings.ToLower(href), "://")
			if scheme != "http" && scheme != "https" || href != textIn(part) || len(part.Attr) != 2 {
				t.Errorf("%q leads to %q", textIn(part), href)
			}
		}
	}
	if found != 1 {
		t.Errorf("%d messages are shown: %s", found, page)
	}
	return value
}

func attributeOf(node *html.Node, name string) string {
	for _, attribute := range node.Attr {
		if attribute.Key == name {
			return attribute.Val
		}
	}
	return ""
}

func textIn(node *html.Node) string {
	var text strings.Builder
	for part := range node.Descendants() {
		if part.Type == html.TextNode {
			text.WriteString(part.Data)
		}
	}
	return text.String()
}
