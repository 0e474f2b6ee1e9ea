package handlers_test

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"daybook/database"
	"daybook/database/databasetest"
	"daybook/ent"
	"daybook/ent/schema"
	"daybook/handlers"
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
	if html := b.send("GET", "/?q=nowhere", "", "Accept", browser).body; !strings.Contains(html, "No messages on this page match the search") {
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

// TestSearchFindsWhatThereIs compares searches with what they should find, page by page in either direction, and at once.
func TestSearchFindsWhatThereIs(t *testing.T) {
	b := open(t)
	values := b.scatter(5000)
	b.exec("DELETE FROM messages WHERE id % 1000 = 0")
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
			if id := i + 1; id%1000 != 0 && contains(value, query) {
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

// contains reports whether the value has all words of the query.
func contains(value, query string) bool {
	for word := range strings.FieldsSeq(query) {
		if !strings.Contains(schema.Fold(value), schema.Fold(word)) {
			return false
		}
	}
	return true
}

func TestSearchInEveryScript(t *testing.T) {
	b := open(t)
	for _, value := range []string{"ὈΔΥΣΣΕΎΣ", "Цапля и ЁЖ", "Die Straße", "İstanbul", "ısı", "Cafe\u0301 noir"} {
		b.record(value)
	}
	for query, ids := range map[string]string{
		"ὀδυσσεύς":   "1",
		"ΟΔΥΣΣΕΥΣ":   "", // without its accents it is another word
		"ЦАПЛЯ ёж":   "2",
		"е\u0308ж":   "2",
		"STRASSE":    "3",
		"straße":     "3",
		"STRAẞE":     "3",
		"i\u0307st":  "4",
		"İSTANBUL":   "4",
		"ISI":        "", // its capitals are those of isi
		"ıSı":        "5",
		"CAFÉ":       "6",
		"cafe\u0301": "6",
		"cafe":       "",
	} {
		if got := b.page("?q=" + url.QueryEscape(query)).ids(); got != ids {
			t.Errorf("%q finds %q, want %q", query, got, ids)
		}
	}
}

// TestSearchTakesWildcardsLiterally has what means something to LIKE.
func TestSearchTakesWildcardsLiterally(t *testing.T) {
	b := open(t)
	for _, value := range []string{`100% of a_b in C:\new`, `1000 of axb in C:/new`, `\%`, `%\_`} {
		b.record(value)
	}
	for query, ids := range map[string]string{
		`100%`: "1",
		`0%`:   "1",
		`1%f`:  "",
		`a_b`:  "1",
		`axb`:  "2",
		`_`:    "4 1",
		`%`:    "4 3 1",
		`\`:    "4 3 1",
		`:\n`:  "1",
		`\n`:   "1",
		`\\`:   "",
		`\%`:   "3",
		`%\`:   "4",
		`\_`:   "4",
		`% _`:  "4 1",
		`__`:   "",
	} {
		q := url.QueryEscape(query)
		if got := b.page("?q=" + q).ids(); got != ids {
			t.Errorf("%s finds %q, want %q", query, got, ids)
		}
		if all := b.send("GET", "/?all&q="+q, "").body; strings.Count(all, "\n") != len(strings.Fields(ids)) {
			t.Errorf("%s finds, at once, %q, want %q", query, all, ids)
		}
	}
}

// TestSearchOfManyWords has as many words as a query can hold.
func TestSearchOfManyWords(t *testing.T) {
	b := open(t)
	var words []string
	size := 0
	for r := '!'; size < 1990; r++ {
		if word := string(r); schema.Fold(word) == word && strings.TrimSpace(word) != "" {
			words, size = append(words, word), size+len(word)+1
		}
	}
	for i := 0; i < len(words); i += 300 { // a message of all would be too long
		b.record(strings.Join(words[i:min(i+300, len(words))], ""))
	}
	b.client.Message.UpdateOneID(1).SetFolded(strings.Join(words, "")).ExecX(t.Context())
	if got := b.page("?q=" + url.QueryEscape(strings.Join(words, " "))).ids(); got != "1" {
		t.Errorf("%d words find %q", len(words), got)
	}
}

// TestSearchInPagesWhileOthersRecord goes back through what is found: what is recorded meanwhile moves nothing.
func TestSearchInPagesWhileOthersRecord(t *testing.T) {
	b := open(t)
	b.fill(300)
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				b.record("message 7, too")
			}
		}
	})
	var got []int
	for address := "?q=MESSAGE+7&limit=3"; address != ""; {
		page := b.page(address)
		for _, m := range page.Messages {
			got = append(got, m.ID)
		}
		address = page.Older
	}
	close(stop)
	others.Wait()
	var want []int
	for id := got[0]; id > 0; id-- {
		if id > 300 || strings.Contains(fmt.Sprint(id), "7") {
			want = append(want, id)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %d, want %d", got, want)
	}
}

// TestSearchFormIsShownToNobody records what is searched as something else.
func TestSearchFormIsShownToNobody(t *testing.T) {
	b := open(t)
	answers := b.send("POST", "/record", "msg=STRASSE", "Content-Type", "application/x-www-form-urlencoded", "Accept", "application/json").body
	for _, format := range []string{"text", "html", "json", "ndjson", "atom"} {
		answers += b.send("GET", "/?format="+format, "").body
	}
	for _, format := range []string{"text", "html", "json"} {
		answers += b.send("GET", "/messages/1?format="+format, "").body
	}
	if n := strings.Count(answers, "STRASSE"); n < 9 || strings.Contains(answers, "strasse") {
		t.Errorf("shown %d times, and perhaps folded, in %s", n, answers)
	}
}

// missingIndex is what the log says where there is no index for searching.
const missingIndex = `level=WARN msg="searches read every message, because there is no index for them: ` +
	`install the extension pg_trgm and create the index (docs/operating.md, Search)"`

// TestSearchForARareWordUsesTheIndex asks PostgreSQL how it runs the statement of a search.
func TestSearchForARareWordUsesTheIndex(t *testing.T) {
	postgresOnly(t)
	b := open(t)
	if strings.Contains(b.log.String(), missingIndex) {
		t.Errorf("there is an index, and the log says\n%s", b.log)
	}
	b.scatter(20_000)
	b.record("the Needle in the haystack")
	b.exec("VACUUM ANALYZE messages") // as the server does by itself after a while: it also moves new messages into the index
	var statements []string
	debug := dialect.DebugWithContext(b.driver, func(_ context.Context, parts ...any) {
		if _, statement, found := strings.Cut(fmt.Sprint(parts...), "query="); found && strings.Contains(statement, "LIKE") {
			statement, _, _ = strings.Cut(statement, " args=")
			statements = append(statements, statement)
		}
	})
	b.url = "http://" + serve(t, handlers.New(handlers.Config{
		Client: ent.NewClient(ent.Driver(debug)), Driver: b.driver, Shutdown: t.Context(), Log: slog.New(slog.DiscardHandler), MaxMessage: maxMessage,
	}))
	for _, address := range []string{"/?q=needle", "/?all&q=needle"} {
		statements = nil
		got := b.send("GET", address, "").body
		if strings.Count(got, "\n") != 1 || !strings.Contains(got, "Needle") || len(statements) != 1 {
			t.Fatalf("%s finds %s by %q", address, got, statements)
		}
		args := []any{"%needle%"}
		if strings.Contains(statements[0], "$2") {
			args = []any{30_000, "%needle%"}
		}
		var rows entsql.Rows
		if err := b.driver.Query(t.Context(), "EXPLAIN "+statements[0], args, &rows); err != nil {
			t.Fatal(err)
		}
		var plan []string
		if err := entsql.ScanSlice(rows, &plan); err != nil {
			t.Fatal(err)
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(plan, "\n"), "messages_folded_trigrams") {
			t.Errorf("%s\n%s", statements[0], strings.Join(plan, "\n"))
		}
	}
}

// TestSearchWithoutTheIndex opens a book as a role that may not create the extension.
func TestSearchWithoutTheIndex(t *testing.T) {
	postgresOnly(t)
	url, role := databasetest.New(t), "guest_"+strings.ToLower(crand.Text())
	owner, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	err = owner.Exec(t.Context(), fmt.Sprintf("CREATE ROLE %s LOGIN; GRANT CREATE ON SCHEMA public TO %[1]s", role), []any{}, nil)
	if err := errors.Join(err, owner.Close()); err != nil {
		t.Fatal(err)
	}
	guest := strings.Replace(url, "postgres@", role+"@", 1)
	for range 2 { // at each start
		b := openAt(t, guest)
		b.record("Straße")
		if got := b.page("?q=STRASSE"); len(got.Messages) == 0 {
			t.Error("nothing is found")
		}
		if strings.Count(b.log.String(), missingIndex) != 1 {
			t.Errorf("the log does not say once that there is no index:\n%s", b.log)
		}
	}
}
