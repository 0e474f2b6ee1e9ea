package book_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"daybook/book"
	"daybook/database/databasetest"
	"daybook/ent"
	"daybook/ent/schema"
)

func silent(int64, int64) {}

// export returns the lines of the database.
func export(t *testing.T, driver dialect.Driver) string {
	t.Helper()
	var out bytes.Buffer
	if err := book.Export(t.Context(), driver, &out, silent); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// load imports lines, and returns the numbers of those that are refused with the reasons.
func load(t *testing.T, driver dialect.Driver, lines string) (imported book.Imported, refused map[int]string) {
	t.Helper()
	refused = map[int]string{}
	refuse := func(line int, reason error) { refused[line] = reason.Error() }
	in, err := book.Read(strings.NewReader(lines), refuse, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if imported, err = in.Import(t.Context(), driver, refuse, silent); err != nil {
		t.Fatal(err)
	}
	return imported, refused
}

// loadAll imports lines of which none is refused.
func loadAll(t *testing.T, driver dialect.Driver, lines string) book.Imported {
	t.Helper()
	imported, refused := load(t, driver, lines)
	if len(refused) > 0 {
		t.Fatalf("refused: %v", refused)
	}
	return imported
}

// rows returns every column of every row.
func rows(t *testing.T, driver dialect.Driver) (rows []string) {
	t.Helper()
	var found entsql.Rows
	const query = "SELECT id, value, recorded_at, coalesce(idempotency_key, '-'), folded, coalesce(removes, 0) FROM messages ORDER BY id"
	if err := driver.Query(t.Context(), query, []any{}, &found); err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	for found.Next() {
		var id, removes int
		var value, key, folded string
		var at time.Time
		if err := found.Scan(&id, &value, &at, &key, &folded, &removes); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, fmt.Sprintf("%d %s %q %d %.80q %.80q %d %d", id, at.UTC().Format(time.RFC3339Nano), key, removes, value, folded,
			len(value), len(folded)))
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// record records a message as a server does, and returns its number.
func record(t *testing.T, driver dialect.Driver, value, key string) int {
	t.Helper()
	m, err := book.Record(t.Context(), ent.NewClient(ent.Driver(driver)), value, key)
	if err != nil {
		t.Fatal(err)
	}
	return m.ID
}

func remove(t *testing.T, driver dialect.Driver, ids ...int) {
	t.Helper()
	if _, err := book.RemoveAll(t.Context(), driver, ids...); err != nil {
		t.Fatal(err)
	}
}

// recordNasty records so many messages of all kinds, and removes some, the newest too.
func recordNasty(t *testing.T, driver dialect.Driver, messages int) {
	t.Helper()
	parts := []string{"plain", "\x01\x1b[2J\x7f", "\u0085\u2028\u2029\u202e", "👩‍👩‍👧 é", "\r\n\t", `"quoted" \u0041 \\`, "<b>&amp;</b>", "Straße İΣ", "\ufffd"}
	client := ent.NewClient(ent.Driver(driver))
	var all []*ent.MessageCreate
	for i := range messages {
		value := fmt.Sprint(i)
		for range rand.IntN(5) {
			value += parts[rand.IntN(len(parts))]
		}
		if i == messages/2 {
			value = strings.Repeat("Ä", 1<<19)
		}
		create := client.Message.Create().SetValue(value)
		if i%3 == 0 {
			create.SetIdempotencyKey(fmt.Sprintf("key %d “%s”", i, parts[i%len(parts)]))
		}
		all = append(all, create)
	}
	for chunk := range slices.Chunk(all, 1000) {
		client.Message.CreateBulk(chunk...).ExecX(t.Context())
	}
	newest := record(t, driver, "the newest", "newest")
	remove(t, driver, 1, 2, 3, 10, 500, newest)
}

// TestMessagesMoveBetweenDatabases moves them from a SQLite file to another database, and from there to a file.
func TestMessagesMoveBetweenDatabases(t *testing.T) {
	const messages, removals = 10_000, 6
	folder := t.TempDir()
	from := open(t, filepath.Join(folder, "from.db"))
	recordNasty(t, from, messages)
	want, lines := rows(t, from), export(t, from)
	for _, url := range []string{databasetest.New(t), filepath.Join(folder, "to.db")} {
		to := open(t, url)
		if got, all := loadAll(t, to, lines), (book.Imported{Messages: messages + 1 - removals, Removals: removals}); got != all {
			t.Errorf("imported %+v, want %+v", got, all)
		}
		if got := rows(t, to); !slices.Equal(got, want) {
			t.Errorf("%d rows differ from %d", len(got), len(want))
		}
		if got := loadAll(t, to, lines); got != (book.Imported{Known: messages + 1}) {
			t.Errorf("imported again: %+v", got)
		}
		if got := export(t, to); got != lines {
			t.Error("the export differs")
		}
		const newest = messages + 1 + removals
		if id := record(t, to, "one more", "newest"); id != newest+1 { // the key died with its message
			t.Errorf("the next number is %d", id)
		}
	}
}

// line returns a line of an export.
func line(id int, value, more string) string {
	return fmt.Sprintf(`{"id":%d,"value":%q,"recorded_at":"2026-11-20T17:42:12.123456Z"%s}`+"\n", id, value, more)
}

// removal returns the line of a removal.
func removal(id, removes int) string {
	return fmt.Sprintf(`{"id":%d,"removes":%d,"recorded_at":"2026-11-20T17:42:12.123456Z"}`+"\n", id, removes)
}

// TestImportTellsWhatItRefuses has bad lines between good ones.
func TestImportTellsWhatItRefuses(t *testing.T) {
	const at = `,"recorded_at":"2026-11-20T17:42:12Z"}`
	bad := []struct{ line, reason string }{
		{`{"id":2,"value":"a"`, "unexpected EOF"},
		{`{"id":2,"value":"a"` + at + `{}`, "there is something after the object"},
		{`{"id":2,"value":"a"` + at + ` x`, "there is something after the object"},
		{`["messages"]`, "cannot unmarshal array"},
		{`{"id":2,"value":"a","idempotencykey":"k"` + at, `unknown field "idempotencykey"`},
		{`{"value":"a"` + at, "id must be between 1 and 9007199254740991"},
		{`{"id":0,"value":"a"` + at, "id must be between"},
		{`{"id":9007199254740992,"value":"a"` + at, "id must be between"},
		{`{"id":9223372036854775807,"value":"a"` + at, "id must be between"},
		{`{"id":2.5,"value":"a"` + at, "cannot unmarshal number 2.5"},
		{`{"id":2,"value":"a"}`, "it has no recorded_at"},
		{`{"id":2,"value":"a","recorded_at":"yesterday"}`, `cannot parse "yesterday"`},
		{`{"id":2,"value":"a","recorded_at":"9999-12-31T23:00:00-02:00"}`, "in the years 1 to 9999 of UTC"},
		{`{"id":2` + at, "the message is empty"},
		{`{"id":2,"value":" \t"` + at, "the message is empty"},
		{`{"id":2,"value":"a\u0000"` + at, "the message contains a NUL character"},
		{`{"id":2,"value":"a` + "\xff" + `"` + at, "the line is not valid UTF-8 text"},
		{`{"id":2,"value":"\ud83d"` + at, "half of a surrogate pair"},
		{`{"id":2,"value":"\\ufffd \udc00\ud83d"` + at, "half of a surrogate pair"},
		{`{"id":2,"value":"a","idempotency_key":"\ud83d\u0041"` + at, "half of a surrogate pair"},
		{`{"id":2,"value":"a","idempotency_key":"` + strings.Repeat("k", 256) + `"` + at, "idempotency_key must be text of at most 255 bytes"},
		{`{"id":2,"value":"` + strings.Repeat("v", schema.MaxValue+1) + `"` + at, "the message has 16777217 bytes, more than the 16777216"},
		{`{"id":2,"removes":2` + at, "removes must be between 1 and the number before id"},
		{`{"id":2,"removes":-1` + at, "removes must be between"},
		{`{"id":2,"removes":1,"value":"a"` + at, "it has removes, and a value or a key, too"},
	}
	good := `{"id":1000,"value":"\ud83d\ude00 \\ud83d","recorded_at":"2026-11-20T19:42:12.1234567+02:00"}` + "\n"
	lines := line(1, "first", "")
	for _, b := range bad {
		lines += b.line + "\n"
	}
	driver := open(t, databasetest.New(t))
	imported, refused := load(t, driver, lines+good)
	if imported != (book.Imported{Messages: 2}) {
		t.Errorf("imported %+v", imported)
	}
	for i, b := range bad {
		if got := refused[i+2]; !strings.Contains(got, b.reason) {
			t.Errorf("%.80s is refused as %q, want %q", b.line, got, b.reason)
		}
	}
	want := line(1, "first", "") + `{"id":1000,"value":"😀 \\ud83d","recorded_at":"2026-11-20T17:42:12.123456Z"}` + "\n"
	if got := export(t, driver); got != want {
		t.Errorf("it has\n%s\nwant\n%s", got, want)
	}
}

// TestImportKeepsWhatIsThere imports into a book that has other messages, and has removed some.
func TestImportKeepsWhatIsThere(t *testing.T) {
	driver := open(t, databasetest.New(t))
	loadAll(t, driver, line(1, "one", `,"idempotency_key":"k"`)+line(2, "two", "")+line(3, "three", "")+line(4, "four", `,"idempotency_key":"l"`))
	remove(t, driver, 2) // by entry 5
	steps := []struct{ line, refused string }{
		{line(1, "one", ""), ""},
		{line(1, "another", ""), "message 1 is another one here"},
		{strings.Replace(line(3, "three", ""), "17:42:12.123456", "17:42:12.123457", 1), "message 3 is another one here"},
		{line(2, "two", ""), ""},
		{line(2, "another two", ""), ""},
		{line(5, "five", ""), "message 5 is another one here"},
		{removal(4, 3), "message 4 is another one here"},
		{removal(7, 5), "number 5 is that of a removal here"},
		{line(6, "six", `,"idempotency_key":"k"`), "its idempotency key is that of message 1"},
		{removal(7, 2), ""},
		{line(8, "eight", `,"idempotency_key":"m"`), ""},
		{line(8, "eight", ""), ""},
		{line(8, "another eight", ""), "message 8 is another one here"},
		{line(9, "nine", `,"idempotency_key":"m"`), "its idempotency key is that of message 8"},
		{removal(10, 4), ""},
		{line(11, "eleven", `,"idempotency_key":"l"`), ""}, // which the removal has freed
		{removal(12, 8), ""},
		{line(13, "thirteen", `,"idempotency_key":"m"`), ""},
		{removal(15, 14), ""},
		{line(14, "fourteen", ""), ""}, // comes after its removal
		{removal(16, 14), ""},
	}
	lines := ""
	for _, s := range steps {
		lines += s.line
	}
	imported, refused := load(t, driver, lines)
	for i, s := range steps {
		if refused[i+1] != s.refused {
			t.Errorf("%s is refused as %q, want %q", s.line, refused[i+1], s.refused)
		}
	}
	if want := (book.Imported{Messages: 2, Removals: 3, Known: 4, Removed: 3}); imported != want {
		t.Errorf("imported %+v, want %+v", imported, want)
	}
	got := regexp.MustCompile(`"(id|removes|value)":"?([^",}]*)`).FindAllStringSubmatch(export(t, driver), -1)
	entries := ""
	for _, field := range got {
		entries += map[string]string{"id": "; " + field[2], "removes": " removes " + field[2], "value": " " + field[2]}[field[1]]
	}
	if want := "; 1 one; 3 three; 5 removes 2; 10 removes 4; 11 eleven; 12 removes 8; 13 thirteen; 15 removes 14"; entries != want {
		t.Errorf("it has %s, want %s", entries, want)
	}
}

// TestImportMeetsTheSameMessageAgain has the first message of many once more at the end, and another one with its number.
func TestImportMeetsTheSameMessageAgain(t *testing.T) {
	const messages = 3000
	var lines strings.Builder
	for id := range messages {
		lines.WriteString(line(id+1, "message", fmt.Sprintf(`,"idempotency_key":"k%d"`, id+1)))
	}
	driver := open(t, databasetest.New(t))
	imported, refused := load(t, driver, lines.String()+line(1, "message", "")+line(1, "another", "")+line(9999, "a key", `,"idempotency_key":"k7"`))
	if want := (book.Imported{Messages: messages, Known: 1}); imported != want {
		t.Errorf("imported %+v, want %+v", imported, want)
	}
	want := map[int]string{messages + 2: "message 1 is another one here", messages + 3: "its idempotency key is that of message 7"}
	if !maps.Equal(refused, want) {
		t.Errorf("refused %v, want %v", refused, want)
	}
}

// TestLinesAsEditorsLeaveThem has what Windows and editors add.
func TestLinesAsEditorsLeaveThem(t *testing.T) {
	driver := open(t, databasetest.New(t))
	crlf := func(line string) string { return strings.TrimSuffix(line, "\n") + "\r\n" }
	lines := "\ufeff" + crlf(line(1, "one", "")) + "\r\n  \n" + line(2, "two", "") + strings.TrimSuffix(line(3, "three", ""), "\n")
	if got := loadAll(t, driver, lines); got.Messages != 3 {
		t.Errorf("imported %+v", got)
	}
	if got := loadAll(t, driver, ""); got != (book.Imported{}) {
		t.Errorf("imported %+v of nothing", got)
	}
	_, refused := load(t, driver, line(4, "four", "")+"\n{\n")
	if _, found := refused[3]; len(refused) != 1 || !found {
		t.Errorf("refused %v, want line 3", refused)
	}
}

// TestLongestLine has the longest message, each byte of which is escaped.
func TestLongestLine(t *testing.T) {
	driver := open(t, databasetest.New(t))
	longest := strings.Repeat("\x01", schema.MaxValue)
	escaped := strings.Replace(line(1, "…", ""), "…", strings.Repeat(`\u0001`, schema.MaxValue), 1)
	if got := loadAll(t, driver, escaped); got.Messages != 1 {
		t.Errorf("imported %+v", got)
	}
	found, err := book.Find(t.Context(), ent.NewClient(ent.Driver(driver)), 1)
	if err != nil || found.Value != longest {
		t.Errorf("the longest message has %d bytes: %v", len(found.Value), err)
	}
}

// TestHugeLine has a line of a gigabyte, which must not be read into memory. The next line is read.
func TestHugeLine(t *testing.T) {
	databasetest.SQLiteOnly(t) // this uses no database
	const length = 1 << 30
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	refused := map[int]string{}
	input := io.MultiReader(io.LimitReader(endless{}, length), strings.NewReader("\n"+line(2, "two", "")))
	in, err := book.Read(input, func(line int, reason error) { refused[line] = reason.Error() }, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	runtime.ReadMemStats(&after)
	if len(refused) != 1 || refused[1] != "the line is longer than any message" {
		t.Errorf("refused: %v", refused)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > length {
		t.Errorf("it took %d bytes of memory", allocated)
	}
}

// endless is a text without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// TestImportThatFailsLeavesNothing fails, and is stopped, in the middle.
func TestImportThatFailsLeavesNothing(t *testing.T) {
	driver := open(t, databasetest.New(t))
	var lines strings.Builder
	for id := range 2000 {
		lines.WriteString(line(id+1, "message", ""))
	}
	never := func(line int, reason error) { t.Errorf("line %d: %v", line, reason) }
	in, err := book.Read(strings.NewReader(lines.String()), never, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	ctx, stop := context.WithCancel(t.Context())
	_, err = in.Import(ctx, driver, never, func(done, total int64) {
		if done > total/2 {
			stop()
		}
	})
	if !errors.Is(err, context.Canceled) || export(t, driver) != "" {
		t.Errorf("it ended with %v, and left\n%.200s", err, export(t, driver))
	}
	imported, err := in.Import(t.Context(), driver, never, silent)
	if err != nil || imported.Messages != 2000 || strings.Count(export(t, driver), "\n") != 2000 {
		t.Errorf("imported %+v: %v", imported, err)
	}
}
