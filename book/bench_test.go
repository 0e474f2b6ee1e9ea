package book_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"entgo.io/ent/dialect"

	"daybook/book"
	"daybook/ent/schema"
)

// BenchmarkImport imports a million short messages, and lets the sqlite3 command import the same, folded already, into the same
// table with the same index of times. The table has no columns that sqlite3 could not fill from the file, nor their two indexes,
// which stay empty. It reports how many times as long the import takes.
func BenchmarkImport(b *testing.B) {
	const messages = 1_000_000
	sqlite3, err := exec.LookPath("sqlite3")
	if err != nil {
		b.Skip("there is no sqlite3 here; install it, for example with: apt-get install sqlite3")
	}
	folder := b.TempDir()
	export, table := filepath.Join(folder, "export"), filepath.Join(folder, "table.csv")
	write(b, export, table, messages)
	var ours, theirs time.Duration
	for i := range b.N {
		begun := time.Now()
		importFile(b, open(b, filepath.Join(folder, fmt.Sprint("ours", i))), export, messages)
		ours += time.Since(begun)

		command := exec.Command(sqlite3, filepath.Join(folder, fmt.Sprint("theirs", i)))
		command.Stdin = strings.NewReader(fmt.Sprintf(`PRAGMA journal_mode = WAL;
CREATE TABLE messages (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, value text NOT NULL, recorded_at datetime NOT NULL, folded text NULL);
CREATE INDEX message_recorded_at ON messages (recorded_at);
.import --csv %s messages
SELECT count(*) FROM messages;
`, table))
		begun = time.Now()
		output, err := command.CombinedOutput()
		theirs += time.Since(begun)
		if err != nil || !strings.HasSuffix(string(output), fmt.Sprintln(messages)) {
			b.Fatalf("%v\n%s", err, output)
		}
	}
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "times-sqlite3")
	b.ReportMetric(theirs.Seconds()/float64(b.N), "s/sqlite3")
}

// write writes so many messages in both formats.
func write(b *testing.B, export, table string, messages int) {
	b.Helper()
	var files []*bufio.Writer
	for _, path := range []string{export, table} {
		file, err := os.Create(path)
		if err != nil {
			b.Fatal(err)
		}
		defer file.Close()
		files = append(files, bufio.NewWriter(file))
	}
	at := time.Date(2026, 11, 20, 17, 42, 12, 0, time.UTC)
	for id := range messages {
		value := fmt.Sprintf("Message %d of many, which are short", id+1)
		at = at.Add(1234567 * time.Microsecond)
		fmt.Fprintf(files[0], `{"id":%d,"value":%q,"recorded_at":%q}`+"\n", id+1, value, at.Format(time.RFC3339Nano))
		fmt.Fprintf(files[1], "%d,%q,%s,%q\n", id+1, value, at.Format("2006-01-02 15:04:05.999999999-07:00"), schema.Fold(value))
	}
	for _, file := range files {
		if err := file.Flush(); err != nil {
			b.Fatal(err)
		}
	}
}

// importFile imports the file, of which no line is refused.
func importFile(b *testing.B, driver dialect.Driver, path string, messages int) {
	b.Helper()
	file, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	refuse := func(line int, reason error) { b.Errorf("line %d: %v", line, reason) }
	in, err := book.Read(file, refuse, func(int64) {})
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	begun := time.Now()
	imported, err := in.Import(b.Context(), driver, refuse, func(int64, int64) {})
	b.ReportMetric(time.Since(begun).Seconds(), "s/transaction") // for which nobody else records
	if want := (book.Imported{Messages: messages}); err != nil || imported != want {
		b.Errorf("imported %+v, %v", imported, err)
	}
}
