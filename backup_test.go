//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"ariga.io/atlas/sql/migrate"
	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"daybook/database"
	"daybook/database/databasetest"
	"daybook/ent/migrations"
)

// numberIn returns the number that the query yields in the database at path.
func numberIn(t *testing.T, path, query string) int {
	t.Helper()
	driver, err := database.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer driver.Close()
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

// names returns the names of the files in the folder.
func names(t *testing.T, folder string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		names = append(names, file.Name())
	}
	return names
}

// TestBackupWhileClientsRecord makes backups while 16 clients record.
func TestBackupWhileClientsRecord(t *testing.T) {
	folder := t.TempDir()
	s := serveIn(t, folder, "--listen=127.0.0.1:0")
	r := record(t, 16, s)
	for range 3 {
		r.wait(300)
		r.mu.Lock()
		acknowledged := map[string]bool{}
		for value := range r.recorded {
			acknowledged[value] = true
		}
		r.mu.Unlock()
		output, err := daybook(t, folder, "backup", "copy.db").CombinedOutput()
		if said := regexp.MustCompile(`^Copied daybook\.db to copy\.db \(\d+ kB\)\.\n$`); err != nil || !said.Match(output) {
			t.Fatalf("it ended with %v, and said %q", err, output)
		}
		checkBook(t, filepath.Join(folder, "copy.db"), acknowledged)
	}
	r.stop()
	s.stop(syscall.SIGTERM)
}

// TestBackupToStandardOutput writes to a pipe, and leaves nothing in the folder for temporary files, even if nobody reads the pipe.
func TestBackupToStandardOutput(t *testing.T) {
	folder, temporary := t.TempDir(), t.TempDir()
	makeDatabase(t, filepath.Join(folder, "daybook.db"),
		"INSERT INTO messages (value, recorded_at) VALUES (zeroblob(1000000), '2026-11-19 07:05:09.000001+00:00')")
	t.Setenv("TMPDIR", temporary)
	output, err := daybook(t, folder, "backup", "-").Output()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(path, output, 0o600); err != nil {
		t.Fatal(err)
	}
	checkBook(t, path, nil)
	if n := numberIn(t, path, "SELECT length(value) FROM messages"); n != 1_000_000 {
		t.Errorf("the message has %d bytes in the copy", n)
	}
	command := daybook(t, folder, "backup", "-")
	pipe, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(command.Start(), pipe.Close()); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); err == nil {
		t.Error("it ended well, although nobody read the copy")
	}
	if left := names(t, temporary); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestBackupToATerminal is refused.
func TestBackupToATerminal(t *testing.T) {
	folder := t.TempDir()
	makeDatabase(t, filepath.Join(folder, "daybook.db"))
	script := need(t, "script") // which runs a command in a terminal
	command := daybook(t, folder)
	command.Path = script
	command.Args = []string{script, "--quiet", "--return", "--command", os.Args[0] + " backup -", "/dev/null"}
	output, err := command.Output()
	if !strings.Contains(string(output), "standard output is a terminal") || command.ProcessState.ExitCode() != 1 {
		t.Errorf("it ended with %v, and said %q", err, output)
	}
}

func TestRefusedBackup(t *testing.T) {
	folder := t.TempDir()
	makeDatabase(t, filepath.Join(folder, "daybook.db"))
	for _, test := range []struct {
		args     string
		status   int
		sentence string
	}{
		{"copy.db --database=daybok.db", 1, "there is no database " + filepath.Join(folder, "daybok.db")},
		{"daybook.db", 1, "daybook.db is the database itself, or a part of it: use another path"},
		{"none/copy.db", 1, "the folder " + filepath.Join(folder, "none") + " does not exist"},
		{"copy.db --database=postgres://anna:s3cr3t@localhost/daybook", 1, `pg_dump --dbname="$DATABASE_URL" > FILE`},
		{"", 2, `expected "<file>"`},
	} {
		output, err := daybook(t, folder, append([]string{"backup"}, strings.Fields(test.args)...)...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != test.status {
			t.Errorf("backup %s: it ended with %v, want %d", test.args, err, test.status)
		}
		if !strings.Contains(string(output), test.sentence) || strings.Count(string(output), "\n") != 1 {
			t.Errorf("backup %s: it said\n%s\nwant\n%s", test.args, output, test.sentence)
		}
	}
	if left := names(t, folder); !slices.Equal(left, []string{"daybook.db"}) {
		t.Errorf("left behind: %q", left)
	}
}

// TestBackupIsFlushed watches the system calls of a backup: the copy is flushed before it gets its name, and the name before the end.
func TestBackupIsFlushed(t *testing.T) {
	folder := t.TempDir()
	makeDatabase(t, filepath.Join(folder, "daybook.db"))
	calls := filepath.Join(t.TempDir(), "calls")
	command := daybook(t, folder, "backup", "copy.db")
	trace(t, command, calls, "-y", "-e", "trace=fsync,rename,renameat,renameat2")
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	order := regexp.MustCompile(`(?s)fsync\([^\n]+\.partial>\) += 0.*rename[^\n]+copy\.db.*fsync\([^\n]+` + regexp.QuoteMeta(folder) + `>\) += 0`)
	until(t, "strace has seen the flushes in their order", func() bool {
		log, err := os.ReadFile(calls)
		return err == nil && order.Match(log)
	})
}

// fillWithLongMessages makes a database of 64 MB in the folder, which takes longer to copy than a process to start.
func fillWithLongMessages(t *testing.T, path string) {
	t.Helper()
	makeDatabase(t, path, `WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 64)
		INSERT INTO messages (value, recorded_at) SELECT printf('%.*c', 1000000, 'x'), '2026-11-19 07:05:09.000001+00:00' FROM number`)
}

// TestBackupThatIsKilled kills it at twenty random moments. The target is the copy from before or a whole new one.
func TestBackupThatIsKilled(t *testing.T) {
	folder, target := t.TempDir(), t.TempDir()
	path, copied := filepath.Join(folder, "daybook.db"), filepath.Join(target, "copy.db")
	fillWithLongMessages(t, path)
	begun := time.Now()
	if output, err := daybook(t, folder, "backup", copied).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	whole := time.Since(begun)
	const count = "SELECT count(*) * (SELECT integrity_check = 'ok' FROM pragma_integrity_check) FROM messages"
	old, partial := 64, 0
	for round := range 20 {
		makeDatabase(t, path, "INSERT INTO messages (value, recorded_at) VALUES ('new', '2026-11-19 07:05:09.000001+00:00')")
		command := daybook(t, folder, "backup", copied)
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(whole))
		if err := command.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = command.Wait() // killed
		left, err := filepath.Glob(filepath.Join(target, ".copy.db.*.partial"))
		for _, path := range left {
			err = errors.Join(err, os.Remove(path))
		}
		if err != nil {
			t.Fatal(err)
		}
		partial += len(left)
		n := numberIn(t, copied, count)
		if n != old && n != 65+round || len(left) > 0 && n != old {
			t.Errorf("the copy has %d messages, the one before had %d, and the database has %d", n, old, 65+round)
		}
		old = n
	}
	if partial == 0 {
		t.Error("it was never killed while it copied")
	}
	t.Logf("%d of 20 were killed while they copied", partial)
	if n := numberIn(t, path, count); n != 84 {
		t.Errorf("the database has %d messages", n)
	}
}

// TestBackupThatIsStopped is told to end, and leaves the copy from before and nothing else.
func TestBackupThatIsStopped(t *testing.T) {
	folder, target := t.TempDir(), t.TempDir()
	fillWithLongMessages(t, filepath.Join(folder, "daybook.db"))
	copied := filepath.Join(target, "copy.db")
	if err := os.WriteFile(copied, []byte("the one before"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		var stderr bytes.Buffer
		command := daybook(t, folder, "backup", copied)
		command.Stderr = &stderr
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		for limit := time.Now().Add(30 * time.Second); len(names(t, target)) < 2; time.Sleep(time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatal("it writes nothing")
			}
		}
		if err := command.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		err := command.Wait()
		if want := "daybook: stopped before the copy was whole: nothing was written\n"; command.ProcessState.ExitCode() != 1 ||
			stderr.String() != want {
			t.Errorf("%s: it ended with %v, and said %q", signal, err, &stderr)
		}
		if left := names(t, target); !slices.Equal(left, []string{"copy.db"}) {
			t.Errorf("%s: in the folder are %q", signal, left)
		}
	}
}

// commandsIn returns the commands that come after a sentence of the document.
func commandsIn(t *testing.T, sentence string) string {
	t.Helper()
	_, after, found := strings.Cut(contents(t, "docs/operating.md"), sentence)
	_, after, begins := strings.Cut(after, "```sh\n")
	commands, _, ends := strings.Cut(after, "```")
	if !found || !begins || !ends {
		t.Fatalf("the document has no commands after %q", sentence)
	}
	return commands
}

// TestRestoreAsDocumented restores a backup after the server was killed, which leaves a log of the old database.
func TestRestoreAsDocumented(t *testing.T) {
	folder, backup := t.TempDir(), filepath.Join(t.TempDir(), "copy.db")
	s := serveIn(t, folder, "--listen=127.0.0.1:0")
	s.post("one")
	s.post("two")
	wanted := s.list()
	if output, err := daybook(t, folder, "backup", backup).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	s.post("three")
	if err := s.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.log
	_ = s.command.Wait() // killed
	restore := exec.Command("sh", "-ec", commandsIn(t, "To restore, stop Daybook"))
	restore.Dir, restore.Env = folder, append(os.Environ(), "BACKUP="+backup)
	if output, err := restore.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	s = serveIn(t, folder, "--listen=127.0.0.1:0")
	if list := s.list(); list != wanted {
		t.Errorf("it lists\n%s\nwant\n%s", list, wanted)
	}
	if status, body := s.post("four"); status != 201 {
		t.Errorf("answered %d %s", status, body)
	}
	s.stop(syscall.SIGTERM)
	checkBook(t, filepath.Join(folder, "daybook.db"), map[string]bool{"one": true, "two": true, "four": true})
	checkBook(t, filepath.Join(folder, "replaced", "daybook.db"), map[string]bool{"one": true, "two": true, "three": true})
}

// makeOldDatabase makes a database of an earlier schema, with two messages.
func makeOldDatabase(t *testing.T, url string, version int) {
	t.Helper()
	driver, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer driver.Close()
	if err := database.Migrate(t.Context(), driver, olderMigrations(t, driver.Dialect(), version), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	statements := []string{"INSERT INTO messages (value, recorded_at) VALUES " +
		"('Straße nach İzmir', '2026-11-19 07:05:09.000001+00:00'), ('zwei\nZeilen', '2026-11-19 07:05:10.000002+00:00')"}
	if version < 4 && driver.Dialect() == dialect.SQLite { // which had no table of its migrations
		statements = append(statements, "DROP TABLE applied_migrations")
	}
	for _, statement := range statements {
		if err := driver.Exec(t.Context(), statement, []any{}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// olderMigrations returns those that an earlier version of the program had.
func olderMigrations(t *testing.T, dialect string, version int) fs.FS {
	t.Helper()
	older := fstest.MapFS{}
	dir := &migrate.MemDir{}
	dir.SyncWrites(func(name string, text []byte) error {
		older[dialect+"/"+name] = &fstest.MapFile{Data: text}
		return nil
	})
	paths, err := fs.Glob(migrations.Files, dialect+"/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	var files []migrate.File
	for _, path := range paths {
		text, err := migrations.Files.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if name := filepath.Base(path); name[:4] <= fmt.Sprintf("%04d", version) {
			files = append(files, migrate.NewLocalFile(name, text))
		}
	}
	if err := dir.CopyFiles(files); err != nil {
		t.Fatal(err)
	}
	return older
}

// TestUpgradeOnPostgreSQL starts the server with databases of earlier schemas, and then an older version with the upgraded one.
func TestUpgradeOnPostgreSQL(t *testing.T) {
	postgres := databasetest.Start(t, "fsync=off")
	for version := 3; version <= 5; version++ {
		t.Run(fmt.Sprint("schema ", version), func(t *testing.T) {
			url := postgres.New(t)
			makeOldDatabase(t, url, version)
			s := serveIn(t, t.TempDir(), "--listen=127.0.0.1:0", "--database="+url)
			if list := s.list(); list != oldMessages {
				t.Errorf("it lists\n%s", list)
			}
			if status, id := s.post("new"); status != 201 {
				t.Errorf("recording is answered %d %s", status, id)
			}
			s.stop(syscall.SIGTERM)
			err := database.Migrate(t.Context(), openDatabase(t, url), olderMigrations(t, dialect.Postgres, version), slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), "start that version, or restore a dump (pg_dump) from before the upgrade") {
				t.Errorf("the older version says %v", err)
			}
		})
	}
}

// oldMessages are those of an old database, as text.
const oldMessages = "1\t2026-11-19T07:05:09Z\tStraße nach İzmir\n2\t2026-11-19T07:05:10Z\tzwei\\nZeilen\n"

// TestUpgradeAndWayBack starts the server with databases of earlier schemas. It has the same messages as before, and leaves a copy,
// which is put back as the document says, and upgraded again.
func TestUpgradeAndWayBack(t *testing.T) {
	for version := 1; version <= 4; version++ {
		t.Run(fmt.Sprint("schema ", version), func(t *testing.T) {
			folder := t.TempDir()
			path := filepath.Join(folder, "daybook.db")
			makeOldDatabase(t, path, version)
			copied := fmt.Sprint(path, ".schema", version)
			for range 2 {
				s := serveIn(t, folder, "--listen=127.0.0.1:0")
				if list := s.list(); list != oldMessages {
					t.Errorf("it lists\n%s", list)
				}
				s.post("new")
				s.stop(syscall.SIGTERM)
				if left := names(t, folder); !slices.Contains(left, filepath.Base(copied)) {
					t.Fatalf("in the folder are %q", left)
				}
				if found := numberIn(t, copied, "PRAGMA user_version"); found != version {
					t.Errorf("the copy has schema %d", found)
				}
				back := exec.Command("sh", "-c", strings.ReplaceAll(commandsIn(t, "To go back, stop Daybook"), "schema4", filepath.Ext(copied)[1:]))
				back.Dir = folder
				if output, err := back.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, output)
				}
				if n := numberIn(t, filepath.Join(folder, "replaced", "daybook.db"), "SELECT count(*) FROM messages"); n != 3 {
					t.Errorf("the newer database has %d messages", n)
				}
				if err := os.RemoveAll(filepath.Join(folder, "replaced")); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestUpgradeByTwoAtOnce starts several processes with an old database. One copies and changes it.
func TestUpgradeByTwoAtOnce(t *testing.T) {
	folder := t.TempDir()
	makeOldDatabase(t, filepath.Join(folder, "daybook.db"), 3)
	var logs [4]string
	var starting sync.WaitGroup
	for i := range logs {
		command := daybook(t, folder, "remove", "99") // which upgrades like the server
		starting.Go(func() {
			output, _ := command.CombinedOutput() // it fails: there is no such message
			logs[i] = string(output)
		})
	}
	starting.Wait()
	all := strings.Join(logs[:], "")
	if strings.Count(all, "copied the database") != 1 || strings.Count(all, "There is no message 99.") != len(logs) {
		t.Errorf("they logged\n%s", all)
	}
	left := slices.DeleteFunc(names(t, folder), func(name string) bool {
		return strings.HasSuffix(name, "-wal") || strings.HasSuffix(name, "-shm") // of two that close it at the same time, neither is the last
	})
	if !slices.Equal(left, []string{"daybook.db", "daybook.db.schema3"}) {
		t.Errorf("in the folder are %q", left)
	}
}
