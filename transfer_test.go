//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"daybook/database/databasetest"
)

// onBoth runs the test on a SQLite file and on PostgreSQL.
func onBoth(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("SQLite", func(t *testing.T) { test(t, filepath.Join(t.TempDir(), "daybook.db")) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, databasetest.Start(t, "fsync=off").New(t)) })
}

// exportLine is what an export has of a message.
func exportLine(id int, value string) string {
	return fmt.Sprintf(`{"id":%d,"value":%q,"recorded_at":"2026-11-20T17:42:12.123456Z"}`+"\n", id, value)
}

// exportFile writes lines for messages with numbers from first to last.
func exportFile(t *testing.T, first, last int, value string) (path string) {
	t.Helper()
	var lines bytes.Buffer
	for id := first; id <= last; id++ {
		lines.WriteString(exportLine(id, value))
	}
	path = filepath.Join(t.TempDir(), "export")
	if err := os.WriteFile(path, lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// transfer runs a command to its end.
func transfer(t *testing.T, input string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	command := daybook(t, t.TempDir(), args...)
	var out, said bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(input), &out, &said
	_ = command.Run() // the status tells
	return command.ProcessState.ExitCode(), out.String(), said.String()
}

func TestExportAndImportOnTheCommandLine(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		from := serveIn(t, t.TempDir(), "--listen=127.0.0.1:0")
		for _, value := range []string{"one", "two\nlines \x1b[2J", "three"} {
			from.post(value)
		}
		lines := from.get("/?all&format=ndjson")
		from.stop(syscall.SIGTERM)
		for i, step := range []struct {
			input  string
			status int
			stderr string
		}{
			{lines, 0, "Imported 3 messages, 0 were here already, 0 were refused.\n"},
			{lines, 0, "Imported 0 messages, 3 were here already, 0 were refused.\n"},
			{exportLine(2, "another"), 1, "line 1: message 2 is another one here\n" +
				"Imported 0 messages, 0 were here already, 1 was refused.\n" +
				"daybook: some lines were refused: correct them, and import them again\n"},
			{`{"id":4,"removes":1,"recorded_at":"2026-11-20T17:42:12Z"}`, 0, "Imported 0 messages and 1 removal, 0 were here already, 0 were refused.\n"},
			{lines, 0, "Imported 0 messages, 2 were here already, 1 was removed here, 0 were refused.\n"},
		} {
			if status, _, stderr := transfer(t, step.input, "import", "--database="+url); status != step.status || stderr != step.stderr {
				t.Errorf("step %d: it ended with %d, and said\n%s", i, status, stderr)
			}
		}
		_, rest, _ := strings.Cut(lines, "\n") // without the message that was removed
		want := rest + `{"id":4,"removes":1,"recorded_at":"2026-11-20T17:42:12Z"}` + "\n"
		want = regexp.MustCompile(`0+Z"}`).ReplaceAllString(want, `Z"}`)
		if status, stdout, stderr := transfer(t, "", "export", "--database="+url); status != 0 || stdout != want || stderr != "" {
			t.Errorf("it ended with %d, exported\n%s\nwant\n%s\nand said\n%s", status, stdout, want, stderr)
		}
		if status, _, stderr := transfer(t, strings.Repeat("x\n", 150), "import", "--database="+url, "-"); status != 1 ||
			strings.Count(stderr, "\n") != 103 || !strings.Contains(stderr, "\n… and 50 more lines\n") {
			t.Errorf("of 150 bad lines, it ended with %d, and said\n%s", status, stderr)
		}
	})
}

// TestRefusedTransfer has what is refused before anything is done.
func TestRefusedTransfer(t *testing.T) {
	folder := t.TempDir()
	makeDatabase(t, filepath.Join(folder, "old.db"), "DELETE FROM applied_migrations WHERE version = '0006'")
	makeDatabase(t, filepath.Join(folder, "newer.db"), "INSERT INTO applied_migrations (version, description, hash) VALUES ('1000', '', '')")
	makeDatabase(t, filepath.Join(folder, "oldest.db"), "DROP TABLE applied_migrations")
	const old = "the database was not written by this version: start its server once, which upgrades the database\n"
	for _, test := range []struct{ args, stderr string }{
		{"export --database=none.db", "there is no database none.db: use the server's --database\n"},
		{"export --database=old.db", "old.db: " + old},
		{"export --database=oldest.db", "oldest.db: " + old},
		{"export --database=newer.db", "newer.db: the database was written by a newer version of this program (schema 1000, this one knows 6)\n"},
		{"import --database=none.db nothing", "open nothing: no such file or directory\n"},
	} {
		command := daybook(t, folder, strings.Fields(test.args)...)
		output, _ := command.CombinedOutput()
		if status := command.ProcessState.ExitCode(); status != 1 || string(output) != "daybook: "+test.stderr {
			t.Errorf("%s: it ended with %d, and said %q", test.args, status, output)
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "none.db")); err == nil {
		t.Error("a database was created")
	}
}

// TestExportIntoAClosedPipe has a reader that wants one line of many.
func TestExportIntoAClosedPipe(t *testing.T) {
	url := filepath.Join(t.TempDir(), "daybook.db")
	transfer(t, "", "import", "--database="+url, exportFile(t, 1, 50_000, "message"))
	command := daybook(t, t.TempDir(), "export", "--database="+url)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	want := exportLine(1, "message")
	begin := make([]byte, len(want))
	if _, err := io.ReadFull(stdout, begin); err != nil || string(begin) != want {
		t.Errorf("it begins with %q: %v", begin, err)
	}
	stdout.Close()
	_ = command.Wait()
	if status := command.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGPIPE || stderr.Len() > 0 {
		t.Errorf("it ended with %v, and said %q", command.ProcessState, &stderr)
	}
}

// TestSlowReaderOfAnExportHoldsNothing looks at the database while nobody reads an export. On SQLite the write-ahead log could not be
// emptied; on PostgreSQL its transaction would be seen.
func TestSlowReaderOfAnExportHoldsNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		transfer(t, "", "import", "--database="+url, exportFile(t, 1, 50_000, "message"))
		command := daybook(t, t.TempDir(), "export", "--database="+url)
		stdout, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(stdout, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		driver := openDatabase(t, url)
		if strings.Contains(url, "://") {
			for begun := time.Now(); number(t, driver, "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'") > 0; {
				if time.Since(begun) > 10*time.Second {
					t.Fatal("it has a transaction open")
				}
			}
		} else if err := driver.Exec(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)", []any{}, nil); err != nil || size(t, url+"-wal") > 0 {
			t.Errorf("it has a snapshot open: %v", err)
		}
		if err := driver.Exec(t.Context(), "DELETE FROM messages WHERE id > 40000", []any{}, nil); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(stdout)
		if err := command.Wait(); err != nil {
			t.Error(err)
		}
		if n := bytes.Count(rest, []byte("\n")); err != nil || n < 40_000 || n > 50_000 {
			t.Errorf("it has exported %d messages: %v", n, err)
		}
	})
}

// number returns the number that a query yields.
func number(t *testing.T, driver dialect.Driver, query string) int {
	t.Helper()
	var rows entsql.Rows
	if err := driver.Query(t.Context(), query, []any{}, &rows); err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n, err := entsql.ScanInt(rows)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestSlowProducerHoldsNobodyUp records at a server while an import waits for its input, and sees both at a follower.
func TestSlowProducerHoldsNobodyUp(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		s := serveIn(t, t.TempDir(), "--listen=127.0.0.1:0", "--database="+url)
		stream := s.events("?after=0")
		command := daybook(t, t.TempDir(), "import", "--database="+url)
		stdin, err := command.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			fmt.Fprint(stdin, exportLine(1000+i, fmt.Sprint("imported ", i)))
			if status, _ := s.post(fmt.Sprint("recorded ", i)); status != http.StatusCreated {
				t.Errorf("answered %d", status)
			}
		}
		if err := errors.Join(stdin.Close(), command.Wait()); err != nil {
			t.Error(err)
		}
		if _, body := s.post("the last one"); body != "Recorded: the last one\n" {
			t.Error(body)
		}
		want := []int{}
		for i := range 20 {
			want = append(want, i+1)
		}
		for i := range 21 {
			want = append(want, 1000+i)
		}
		var got []int
		for len(got) < len(want) && stream.Scan() {
			if id, found := strings.CutPrefix(stream.Text(), "id: "); found {
				n, _ := strconv.Atoi(id)
				got = append(got, n)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("a follower gets %v, want %v", got, want)
		}
		s.stop(syscall.SIGTERM)
	})
}

// TestImportBesideTwoInstances imports numbers that two instances are just giving to others, and those after them. Nobody is refused
// a message, and followers get all in order.
func TestImportBesideTwoInstances(t *testing.T) {
	url := databasetest.Start(t, "fsync=off").New(t)
	servers := instances(t, 2, url)
	proxy := httptest.NewServer(roundRobin(t, servers))
	defer proxy.Close()
	var last atomic.Int64
	var followers sync.WaitGroup
	books := make([][]string, 5)
	for i := range books {
		followers.Go(func() { books[i] = follow(t, proxy.URL, &last) })
	}
	r := record(t, 8, servers...)
	driver := openDatabase(t, url)
	for round := range 5 {
		r.wait(200)
		newest := number(t, driver, "SELECT max(id) FROM messages")
		path := exportFile(t, newest-50, newest+3000, fmt.Sprint("imported ", round))
		status, _, stderr := transfer(t, "", "import", "--database="+url, path)
		if status != 1 || !regexp.MustCompile(`(?m)^Imported [1-9]\d* messages, 0 were here already, [1-9]\d* were refused\.$`).MatchString(stderr) {
			t.Errorf("it ended with %d, and said\n%s", status, stderr)
		}
	}
	r.wait(200)
	r.stop()
	if len(r.refused) > 0 {
		t.Errorf("clients were answered %v", r.refused)
	}
	servers[0].post("the last one")
	want := stored(t, driver)
	newest, _, _ := strings.Cut(want[len(want)-1], "\t")
	id, _ := strconv.Atoi(newest)
	last.Store(int64(id))
	followers.Wait()
	for i, book := range books {
		if !slices.Equal(book, want) {
			t.Errorf("follower %d has %d messages of %d%s", i, len(book), len(want), difference(book, want))
		}
	}
	if id != number(t, driver, "SELECT count(*) FROM messages") {
		t.Errorf("the newest is %d, and there are %d", id, len(want))
	}
}

// TestKilledImport kills an import at random moments: all of it is there, or nothing, and the next one completes it.
func TestKilledImport(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		const messages = 5_000
		makeDatabase(t, url)
		path := exportFile(t, 1, messages, "message")
		driver := openDatabase(t, url)
		begun := time.Now()
		transfer(t, "", "import", "--database="+url, path)
		took := time.Since(begun)
		killed, whole := 0, 0
		for range 20 {
			if err := driver.Exec(t.Context(), "DELETE FROM messages", []any{}, nil); err != nil {
				t.Fatal(err)
			}
			command := daybook(t, t.TempDir(), "import", "--database="+url, path)
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(took/5 + rand.N(took))
			_ = command.Process.Kill() // fails if it has ended
			if command.Wait() != nil {
				killed++
			}
			if n := count(t, url); n == messages {
				whole++
			} else if n != 0 {
				t.Errorf("%d messages of %d are there", n, messages)
			}
		}
		if killed < 5 || whole == 20 {
			t.Errorf("%d of 20 were killed, and %d whole", killed, whole)
		}
		if status, _, stderr := transfer(t, "", "import", "--database="+url, path); status != 0 || count(t, url) != messages {
			t.Errorf("after that, it ended with %d, and said\n%s", status, stderr)
		}
		t.Logf("%d of 20 were killed, and %d whole", killed, whole)
	})
}

// count returns how many messages there are, once nobody's transaction is open: PostgreSQL ends that of a dead process by itself.
func count(t *testing.T, url string) int {
	t.Helper()
	driver := openDatabase(t, url)
	const others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()"
	for strings.Contains(url, "://") && number(t, driver, others) > 0 {
		time.Sleep(time.Millisecond)
	}
	return number(t, driver, "SELECT count(*) FROM messages")
}

// TestKilledExport kills an export at random moments: what has come is the begin of it, and the database can be used.
func TestKilledExport(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		path := exportFile(t, 1, 10_000, "message")
		transfer(t, "", "import", "--database="+url, path)
		begun := time.Now()
		_, want, _ := transfer(t, "", "export", "--database="+url)
		took := time.Since(begun)
		cut := 0
		for range 20 {
			command := daybook(t, t.TempDir(), "export", "--database="+url)
			var stdout bytes.Buffer
			command.Stdout = &stdout
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(rand.N(took))
			_ = command.Process.Kill()
			_ = command.Wait()
			if !strings.HasPrefix(want, stdout.String()) {
				t.Errorf("%d bytes are not the begin of the export", stdout.Len())
			}
			if stdout.Len() < len(want) {
				cut++
			}
		}
		if _, again, _ := transfer(t, "", "export", "--database="+url); again != want || cut == 0 {
			t.Errorf("after %d cuts, it has %d bytes of %d", cut, len(again), len(want))
		}
	})
}

// TestInterruptedImport stops one that waits for its input.
func TestInterruptedImport(t *testing.T) {
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		folder := t.TempDir()
		command := daybook(t, folder, "import")
		stdin, err := command.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer stdin.Close()
		var output bytes.Buffer
		command.Stdout, command.Stderr = &output, &output
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		// More than a pipe holds, so it is reading.
		if _, err := io.WriteString(stdin, strings.Repeat(exportLine(1, "message"), 10_000)); err != nil {
			t.Fatal(err)
		}
		if err := command.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		_ = command.Wait()
		if status := command.ProcessState.ExitCode(); status != 1 || output.String() != "daybook: stopped: nothing was imported\n" {
			t.Errorf("it ended with %d, and said %q", status, &output)
		}
	}
}

// TestServerDropsOldMessages starts one with messages of ten days and of an hour ago.
func TestServerDropsOldMessages(t *testing.T) {
	folder := t.TempDir()
	const insert = "INSERT INTO messages (value, folded, recorded_at) SELECT 'message', 'message', strftime('%Y-%m-%d %H:%M:%f+00:00', 'now', "
	makeDatabase(t, filepath.Join(folder, "daybook.db"), insert+"'-10 days')", insert+"'-1 hour')")
	s := serveIn(t, folder, "--listen=127.0.0.1:0", "--keep=9d")
	for begun := time.Now(); !strings.HasPrefix(s.list(), "2\t"); {
		if time.Since(begun) > 10*time.Second {
			t.Fatalf("it lists\n%s", s.list())
		}
	}
	s.stop(syscall.SIGTERM)
}
