package book_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"daybook/book"
	"daybook/database"
	"daybook/database/databasetest"
	"daybook/ent"
	"daybook/ent/migrations"
)

// FuzzImport imports lines into a book that has other messages, and has removed one. What it has then is what a simple model has.
func FuzzImport(f *testing.F) {
	base := line(1, "one", `,"idempotency_key":"k"`) + line(3, "three", "") + removal(4, 2)
	const at = `"recorded_at":"2026-11-20T19:42:12.1234567+02:00"`
	for _, seed := range []string{
		"", base, line(5, "five", ""), line(1, "another", ""), line(2, "two", ""), line(3, "three", "") + line(3, "3", ""),
		removal(5, 1) + line(6, "six", `,"idempotency_key":"k"`), removal(5, 2) + removal(6, 4), removal(11, 10) + removal(10, 9),
		line(6, "six", `,"idempotency_key":"k"`) + removal(7, 1) + line(8, "eight", `,"idempotency_key":"k"`),
		line(10, "ten", "") + removal(11, 10) + line(10, "ten", "") + removal(12, 10),
		"\ufeff" + line(5, "five", "") + "\r\n {\n\n" + line(6, "", "") + line(7, "seven", ""), "null", "[]\n{}",
		strings.Replace(line(5, "five", ""), "i", "\xff", 2), line(5, "\ufffd", `,"idempotency_key":"\uFFFD"`),
		`{"id":5,"value":"\ud83d\ude00 \\ud83d",` + at + `}`, `{"id":5,"value":"\ud83d",` + at + `}`, `{"ID":5,"Value":"a","value":"b",` + at + `}`,
		`{"id":5,"removes":null,"value":"a","idempotency_key":"",` + at + `}`, `{"id":9007199254740991,"value":"a",` + at + `}`,
		`{"id":5,"value":"a","recorded_at":"9999-12-31T23:59:59.9999999Z"}`, `{"id":5,"value":"a","recorded_at":"0001-01-01T00:00:00+00:01"}`,
	} {
		f.Add(seed)
	}
	driver := open(f, databasetest.New(f))
	if driver.Dialect() == dialect.SQLite { // its flushes would take most of the time
		if err := driver.Exec(f.Context(), "PRAGMA synchronous = OFF", []any{}, nil); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, lines string) {
		begin := func() {
			t.Helper()
			if err := driver.Exec(t.Context(), "DELETE FROM messages", []any{}, nil); err != nil {
				t.Fatal(err)
			}
			loadAll(t, driver, base)
		}
		begin()
		imported, refused := load(t, driver, lines)
		exported := export(t, driver)
		accepted := strings.Split(lines, "\n")
		for number := range refused {
			accepted[number-1] = ""
		}
		want := model{entries: map[int]modelEntry{}, removed: map[int]bool{}}
		want.add(t, strings.Split(base, "\n"))
		want.Imported = book.Imported{}
		want.add(t, accepted)
		got := model{entries: map[int]modelEntry{}, removed: map[int]bool{}}
		got.add(t, strings.Split(exported, "\n"))
		if imported != want.Imported || !maps.Equal(got.entries, want.entries) {
			t.Errorf("imported %+v, want %+v, and it has\n%v\nwant\n%v", imported, want.Imported, got.entries, want.entries)
		}

		begin()
		if without := loadAll(t, driver, strings.Join(accepted, "\n")); without != imported || export(t, driver) != exported {
			t.Errorf("without the lines that were refused, %v, it imported %+v, and with them %+v", refused, without, imported)
		}
		again := loadAll(t, driver, strings.Join(accepted, "\n"))
		if again.Messages+again.Removals > 0 || export(t, driver) != exported {
			t.Errorf("imported again: %+v", again)
		}
		begin()
		if moved := loadAll(t, driver, exported); export(t, driver) != exported {
			t.Errorf("of its own export, it imported %+v, and has\n%s\nwant\n%s", moved, export(t, driver), exported)
		}
	})
}

// model is what an import should leave.
type model struct {
	book.Imported
	entries map[int]modelEntry
	removed map[int]bool // by their numbers
}

type modelEntry struct {
	ID         int
	Removes    int
	Value      string
	RecordedAt time.Time `json:"recorded_at"`
	Key        string    `json:"idempotency_key"`
}

// add adds the entries of lines that were accepted.
func (m *model) add(t *testing.T, lines []string) {
	t.Helper()
	before := maps.Clone(m.entries)
	for i, line := range lines {
		line = strings.TrimSpace(line)
		if i == 0 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		if line == "" {
			continue
		}
		var e modelEntry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q was accepted: %v", line, err)
		}
		had := strings.Contains(line, "\ufffd") || strings.Contains(strings.ToLower(line), `\ufffd`)
		if !utf8.ValidString(line) || strings.Contains(e.Value+e.Key, "\ufffd") && !had {
			t.Errorf("%q was accepted, and altered to %q", line, e.Value)
		}
		e.RecordedAt = e.RecordedAt.UTC().Truncate(time.Microsecond)
		other, known := m.entries[e.ID]
		if other.Key = e.Key; known && other != e {
			t.Errorf("%q was accepted, and there is %+v", line, other)
		}
		switch {
		case known, e.Removes != 0 && m.removed[e.Removes]:
			m.Known++
			continue
		case m.removed[e.ID]:
			m.Removed++
			continue
		case e.Removes == 0:
			m.Messages++
		default:
			if _, added := m.entries[e.Removes]; added && before[e.Removes] == (modelEntry{}) {
				m.Messages-- // it comes and goes
			}
			m.Removals++
			m.removed[e.Removes] = true
			delete(m.entries, e.Removes)
		}
		m.entries[e.ID] = e
	}
}

// FuzzDamagedFile opens a database of an earlier schema, or of this one, in which some bytes differ, and which is cut or longer.
func FuzzDamagedFile(f *testing.F) {
	databasetest.SQLiteOnly(f)
	files := databases(f)
	const page = 4096
	for version := range byte(len(files)) {
		f.Add(version, uint32(0), []byte{})
	}
	for i, size := range []int{1, 99, 100, page - 1, 3 * page, len(files[5]) - 1, len(files[0]) + 1} {
		f.Add(byte(i), uint32(size), []byte{})
	}
	for i, edit := range []struct {
		place int
		bytes string
	}{ // https://sqlite.org/fileformat2.html
		{0, "s"}, {16, "\x02"}, {18, "\x01\x01"}, {19, "\x03"}, {20, "\xff"}, {31, "\x01"}, {32, "\x00\x00\x00\x02\x00\x00\x00\x09"}, {44, "\xff"},
		{59, "\x02"}, {63, "\x09"}, {63, "\x02"}, {68, "\x0f"}, {100, "\x05"}, {103, "\x00\x00"}, {103, "\xff"}, {105, "\x00\x00"},
		{page, "\x05"}, {page + 3, "\x00\x02"}, {page + 8, "\x00\x00\x00\x02"}, {page + 12, "\x00\x01"}, {2 * page, "\x02"}, {2*page + 3, "\xff"},
		{3 * page, "\x00"}, {4*page + 8, "\x0f\xff"}, {5 * page, "\x00\x00\x00\x05"}, {6 * page, "\x0d\x00"}, {7*page + 2, "\x7f"},
		{page - 20, "\xff\xff"},
	} {
		var edits []byte
		for n, b := range []byte(edit.bytes) {
			edits = append(edits, byte((edit.place+n)>>8), byte(edit.place+n), b)
		}
		f.Add(byte(i), uint32(0), edits)
	}
	f.Fuzz(func(t *testing.T, version byte, size uint32, edits []byte) {
		hang := time.AfterFunc(time.Minute, func() { panic("it hangs") })
		defer hang.Stop()
		contents := damage(files[int(version)%len(files)], int(size), edits)
		folder := t.TempDir()
		path, other := filepath.Join(folder, "daybook.db"), filepath.Join(folder, "other.db")
		if err := errors.Join(os.WriteFile(path, contents, 0o600), os.WriteFile(other, contents, 0o600)); err != nil {
			t.Fatal(err)
		}
		before := stored(t, other)
		migrated, err := useDamaged(t, path)
		if err != nil {
			checkMeaning(t, err)
		}
		copies, err := filepath.Glob(path + ".schema*")
		if err != nil {
			t.Fatal(err)
		}
		if migrated && len(copies) > 0 {
			path = copies[0]
		}
		if after := stored(t, path); after != before && (!migrated || len(copies) > 0) {
			t.Errorf("it had\n%s\nand has, migrated or not, %t,\n%s", before, migrated, after)
		}
	})
}

// checkMeaning checks that the error is one sentence, and that damage is not told as something else, after which one tries again.
func checkMeaning(t *testing.T, err error) {
	t.Helper()
	damaged := strings.Contains(err.Error(), "malformed") || strings.Contains(err.Error(), "not a SQLite database")
	if strings.Contains(err.Error(), "\n") || damaged != database.IsCorrupt(err) ||
		database.IsBusy(err) || database.IsFull(err) || database.IsRepeatable(err) || database.IsUnknown(err) {
		t.Errorf("damaged: %t, the error is %v", database.IsCorrupt(err), err)
	}
}

// databases returns the contents of files of each schema that there was, and of one that was made today.
func databases(f *testing.F) (files [][]byte) {
	f.Helper()
	names, err := fs.Glob(migrations.Files, "sqlite3/*.sql")
	if err != nil {
		f.Fatal(err)
	}
	for n := range len(names) + 1 {
		path := filepath.Join(f.TempDir(), "daybook.db")
		driver, err := database.Open(f.Context(), path)
		if err != nil {
			f.Fatal(err)
		}
		exec := func(statement string) {
			if err := driver.Exec(f.Context(), statement, []any{}, nil); err != nil {
				f.Fatal(statement, err)
			}
		}
		for _, name := range names[:n] {
			text, err := migrations.Files.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			exec(string(text))
			exec("PRAGMA user_version = " + strings.TrimLeft(filepath.Base(name)[:4], "0"))
		}
		if n == 0 {
			if err := database.Migrate(f.Context(), driver, migrations.Files, slog.New(slog.DiscardHandler)); err != nil {
				f.Fatal(err)
			}
		}
		exec(`WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 40)
			INSERT INTO messages (value, recorded_at)
			SELECT printf('%.*c', CASE n WHEN 7 THEN 9000 ELSE n * n END, 'x'), '2026-11-19 07:05:09.000001+00:00' FROM number`)
		if err := driver.Close(); err != nil {
			f.Fatal(err)
		}
		contents, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		files = append(files, contents)
	}
	return files
}

// damage returns the contents with edits, each of which is a place, two bytes, and what stands there. A size of 0 changes none.
func damage(contents []byte, size int, edits []byte) []byte {
	contents = slices.Clone(contents)
	for edit := range slices.Chunk(edits, 3) {
		if len(edit) == 3 {
			contents[(int(edit[0])<<8|int(edit[1]))%len(contents)] = edit[2]
		}
	}
	switch {
	case size > len(contents):
		return append(contents, bytes.Repeat([]byte{0xff}, min(size, 1<<18)-len(contents))...)
	case size > 0:
		return contents[:size]
	}
	return contents
}

// stored returns the messages in the file, or why they cannot be read.
func stored(t *testing.T, path string) (all string) {
	t.Helper()
	driver, err := database.Open(t.Context(), path)
	if err != nil {
		return strings.ReplaceAll(err.Error(), path, "PATH")
	}
	defer driver.Close()
	var rows entsql.Rows
	if err := driver.Query(t.Context(), "SELECT id, value, recorded_at FROM messages ORDER BY id", []any{}, &rows); err != nil {
		return err.Error()
	}
	defer rows.Close()
	for rows.Next() {
		var id, value, at any
		if err := rows.Scan(&id, &value, &at); err != nil {
			return err.Error()
		}
		all += fmt.Sprintf("%v %.20q %d %v\n", id, value, len(fmt.Sprint(value)), at)
	}
	return fmt.Sprint(all, rows.Err())
}

// useDamaged opens, reads and writes the database as the program does, up to the first error.
func useDamaged(t *testing.T, path string) (migrated bool, err error) {
	t.Helper()
	ctx, log := t.Context(), slog.New(slog.DiscardHandler)
	driver, err := database.Open(ctx, path)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, driver.Close()) }()
	if err := database.Migrate(ctx, driver, migrations.Files, log); err != nil {
		return false, err
	}
	if err := book.Upgrade(ctx, driver, log); err != nil {
		return true, err
	}
	if err := database.Check(ctx, driver, migrations.Files); err != nil {
		return true, err
	}
	if err := book.Export(ctx, driver, io.Discard, silent); err != nil {
		return true, err
	}
	client := ent.NewClient(ent.Driver(driver))
	recorded, err := book.Record(ctx, client, "new", "key")
	if err != nil {
		return true, err
	}
	found, err := book.Find(ctx, client, recorded.ID)
	if err == nil && found.Value != "new" {
		t.Errorf("the message that was recorded is %q", found.Value)
	}
	return true, err
}
