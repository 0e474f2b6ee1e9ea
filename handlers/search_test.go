package handlers_test

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"daybook/ent"
	"daybook/handlers"
	"daybook/views"
)

func TestSearch(t *testing.T) {
	b := open(t)
	for _, value := range []string{"Backup of the house", "The gate is OPEN", "Открыты ворота", "今日は天気がいい", "a <b>gate</b> & more", "100% done"} {
		b.record(value)
	}
	for query, ids := range map[string]string{
		"gate":          "5 2",
		"GATE open":     "2",
		"gate house":    "",
		"ВОРОТА":        "3",
		"天気":            "4",
		"<B>":           "5",
		"100%":          "6",
		"%":             "6",
		"_":             "",
		"e":             "6 5 2 1",
		"":              "6 5 4 3 2 1",
		"  ":            "6 5 4 3 2 1",
		"house\u00a0of": "1",
	} {
		if got := b.page("?q=" + url.QueryEscape(query)).ids(); got != ids {
			t.Errorf("%q finds %q, want %q", query, got, ids)
		}
	}
	if got := b.send("GET", "/?q=gate", "").body; !strings.HasPrefix(got, "2\t") || strings.Count(got, "\n") != 2 {
		t.Errorf("as text: %q", got)
	}
	for _, format := range []string{"text", "json", "ndjson"} {
		if got := b.send("GET", "/?all&q=gate&format="+format, ""); got.status != 200 || strings.Count(strings.ToLower(got.body), "gate") != 2 {
			t.Errorf("all as %s: %d %q", format, got.status, got.body)
		}
	}
	html := b.send("GET", "/?q=B+gate", "", "Accept", browser).body
	for _, want := range []string{`<p class="value" dir="auto">a &lt;<mark>b</mark>&gt;<mark>gate</mark>&lt;/<mark>b</mark>&gt; &amp; more</p>`, `name="q" value="B gate"`} {
		if !strings.Contains(html, want) {
			t.Errorf("the page has no %s:\n%s", want, html)
		}
	}
	if strings.Contains(html, "<textarea") {
		t.Error("what was found has the form that records")
	}
	if html := b.send("GET", "/?q=nowhere", "", "Accept", browser).body; !strings.Contains(html, "No message here contains that") {
		t.Errorf("nothing is found, and the page says %s", html)
	}
}

func TestSearchThatIsNone(t *testing.T) {
	b := open(t)
	for _, query := range []string{"%ff", "a%00b", "100%", "%zz", "a;b", strings.Repeat("x", 2001)} {
		for _, all := range []string{"", "all&"} {
			if got := b.send("GET", "/?"+all+"q="+query, ""); got.status != 400 || !strings.HasSuffix(got.body, ".\n") {
				t.Errorf("%.10s: %d %q", query, got.status, got.body)
			}
		}
	}
}

// scatter records so many messages of words from a few scripts, the fastest way, and returns them.
func (b *book) scatter(n int) (values []string) {
	b.t.Helper()
	letters := [][]rune{[]rune("abcdefgHIJ"), []rune("абвгдЕЖЗ"), []rune("今日は天気東京"), []rune("0123456789")}
	for range n {
		var value strings.Builder
		for range 1 + rand.N(12) {
			script := letters[rand.N(len(letters))]
			for range 1 + rand.N(6) {
				value.WriteRune(script[rand.N(len(script))])
			}
			value.WriteByte(' ')
		}
		values = append(values, value.String())
	}
	for some := range slices.Chunk(values, 5000) {
		if err := b.client.Message.MapCreateBulk(some, func(create *ent.MessageCreate, i int) {
			create.SetValue(some[i])
		}).Exec(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
	}
	return values
}

// found goes through the pages of a search, in either direction, and returns the numbers in the order of the book.
func (b *book) found(query, direction string) (ids []int) {
	b.t.Helper()
	address := fmt.Sprintf("?q=%s&limit=%d&%s", url.QueryEscape(query), 100+rand.N(901), direction)
	for address != "" {
		page := b.page(address)
		slices.Reverse(page.Messages)
		var these []int
		for _, m := range page.Messages {
			these = append(these, m.ID)
		}
		if strings.HasPrefix(direction, "after") {
			ids, address = append(ids, these...), page.Newer
		} else {
			ids, address = append(these, ids...), page.Older
		}
	}
	return ids
}

// TestSearchFindsWhatThereIs compares searches of a book of some indexed segments, and one that is not, with what they should find.
func TestSearchFindsWhatThereIs(t *testing.T) {
	b := open(t)
	values := b.scatter(20_000)
	b.exec("DELETE FROM messages WHERE id % 1000 = 0") // an index still has what was dropped since
	if err := handlers.Index(t.Context(), b.client); err != nil {
		t.Fatal(err)
	}
	b.exec("DELETE FROM messages WHERE id % 1000 = 1")
	if n := b.client.Slice.Query().CountX(t.Context()); n != 2*1024 {
		t.Fatalf("the index has %d slices", n)
	}
	for range 20 {
		var query string
		from := strings.Fields(values[rand.N(len(values))])
		for range 1 + rand.N(2) { // parts of words that there are, in another case
			word := []rune(from[rand.N(len(from))])
			i := rand.N(len(word))
			query += strings.ToUpper(string(word[i:i+1+rand.N(len(word)-i)])) + " "
		}
		var want []int
		for i, value := range values {
			if id := i + 1; id%1000 > 1 && views.NewWords(query).In(value) {
				want = append(want, id)
			}
		}
		for _, direction := range []string{"after=0", "before=30000", ""} {
			if got := b.found(query, direction); !slices.Equal(got, want) {
				t.Fatalf("%q, %s: found %d, want %d", query, direction, len(got), len(want))
			}
		}
		all := strings.Count(b.send("GET", "/?all&q="+url.QueryEscape(query), "").body, "\n")
		if all != len(want) {
			t.Fatalf("%q: all are %d, want %d", query, all, len(want))
		}
	}
}

// TestSearchUsesTheIndex takes slices away: where not all bits of a word are set, nobody looks.
func TestSearchUsesTheIndex(t *testing.T) {
	b := open(t)
	b.record("zebra")
	b.scatter(8192)
	if err := handlers.Index(t.Context(), b.client); err != nil {
		t.Fatal(err)
	}
	if got := b.page("?q=zebra").ids(); got != "1" {
		t.Fatalf("found %q", got)
	}
	b.exec("CREATE TABLE kept AS SELECT * FROM slices")
	for half := range 2 {
		b.exec(fmt.Sprint("UPDATE slices SET bits = zeroblob(1008) WHERE id % 2 = ", half))
		if got := b.page("?q=zebra").ids(); got != "" {
			t.Errorf("without half of the slices it found %q", got)
		}
		b.exec("UPDATE slices SET bits = (SELECT bits FROM kept WHERE kept.id = slices.id)")
	}
}

// TestFullSegmentIsIndexed records the first message of the second segment.
func TestFullSegmentIsIndexed(t *testing.T) {
	b := open(t)
	b.scatter(8063)
	b.record("zebra")
	for limit := time.Now().Add(10 * time.Second); b.client.Slice.Query().CountX(t.Context()) != 1024; {
		if time.Now().After(limit) {
			t.Fatal("it is not indexed")
		}
	}
	b.record("Zebra")
	if got := b.page("?q=ZEBRA").ids(); got != "8065 8064" {
		t.Errorf("found %s", got)
	}
}
