package database_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log"
	"net/url"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"go.uber.org/goleak"

	"daybook/database"
	"daybook/database/databasetest"
)

func TestMain(m *testing.M) {
	if os.Getenv(asBackup) == "1" {
		if err := backupMain(); err != nil {
			log.Fatal(err)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func TestOnPostgreSQL(t *testing.T) { databasetest.OnPostgreSQL(t) }

// open opens a new database, with a table note(value).
func open(t *testing.T) (driver dialect.Driver, url string) {
	t.Helper()
	url = databasetest.New(t)
	if !databasetest.Postgres() {
		url = filepath.Join(t.TempDir(), "test ?#%.db") // characters that mean something in SQLite's URIs
	}
	driver = reopen(t, url)
	exec(t, driver, "CREATE TABLE note (value TEXT UNIQUE)")
	return driver, url
}

func reopen(t *testing.T, url string) dialect.Driver {
	t.Helper()
	driver, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := driver.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return driver
}

func begin(t *testing.T, driver dialect.Driver, readOnly bool) dialect.Tx {
	t.Helper()
	tx, err := driver.(interface {
		BeginTx(context.Context, *sql.TxOptions) (dialect.Tx, error)
	}).BeginTx(t.Context(), &sql.TxOptions{ReadOnly: readOnly})
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func exec(t *testing.T, on dialect.ExecQuerier, query string, args ...any) {
	t.Helper()
	if err := on.Exec(t.Context(), query, append([]any{}, args...), nil); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// bind writes the placeholders of a query as the database wants them.
func bind(query string) string {
	if !databasetest.Postgres() {
		return query
	}
	parts := strings.Split(query, "?")
	for i := range parts[1:] {
		parts[i] += fmt.Sprint("$", i+1)
	}
	return strings.Join(parts, "")
}

// number returns the one number that the query yields.
func number(t *testing.T, on dialect.ExecQuerier, query string) int {
	t.Helper()
	var rows entsql.Rows
	if err := on.Query(t.Context(), query, []any{}, &rows); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	n, err := entsql.ScanInt(rows)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func commit(t *testing.T, tx dialect.Tx) {
	t.Helper()
	if err := tx.Commit(); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

var insert = bind("INSERT INTO note (value) VALUES (?)")

func TestCommitKeepsAndRollbackDoesNot(t *testing.T) {
	driver, path := open(t)
	kept := begin(t, driver, false)
	exec(t, kept, insert, "kept")
	commit(t, kept)
	dropped := begin(t, driver, false)
	exec(t, dropped, insert, "dropped")
	if err := dropped.Rollback(); err != nil {
		t.Fatal(err)
	}
	if n := number(t, reopen(t, path), "SELECT count(*) FROM note WHERE value = 'kept'"); n != 1 {
		t.Errorf("%d of 1 committed rows are there", n)
	}
	if n := number(t, driver, "SELECT count(*) FROM note"); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

func TestEveryConnectionHasItsSettings(t *testing.T) {
	databasetest.SQLiteOnly(t)
	driver, _ := open(t)
	for _, readOnly := range []bool{false, true} {
		tx := begin(t, driver, readOnly)
		for pragma, want := range map[string]int{"synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000, "fullfsync": 1} {
			if got := number(t, tx, "PRAGMA "+pragma); got != want {
				t.Errorf("read only %t: %s is %d, want %d", readOnly, pragma, got, want)
			}
		}
		commit(t, tx)
	}
}

func TestTransactionBeginsWithItsFirstStatement(t *testing.T) {
	driver, _ := open(t)
	// There is one writer. Were it taken by a transaction without a statement, the second one could not go on.
	idle := begin(t, driver, false)
	busy := begin(t, driver, false)
	exec(t, busy, insert, "a")
	commit(t, busy)
	exec(t, idle, insert, "b")
	commit(t, idle)
	if n := number(t, driver, "SELECT count(*) FROM note"); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

func TestReaderSeesOneSnapshotAndDoesNotWait(t *testing.T) {
	driver, _ := open(t)
	reader := begin(t, driver, true)
	if n := number(t, reader, "SELECT count(*) FROM note"); n != 0 {
		t.Fatalf("%d rows in a new table", n)
	}
	writer := begin(t, driver, false)
	exec(t, writer, insert, "a")
	if n := number(t, driver, "SELECT count(*) FROM note"); n != 0 {
		t.Errorf("%d rows are seen before the commit", n)
	}
	commit(t, writer)
	if n := number(t, reader, "SELECT count(*) FROM note"); n != 0 {
		t.Errorf("the snapshot has changed: it has %d rows", n)
	}
	commit(t, reader)
	if n := number(t, driver, "SELECT count(*) FROM note"); n != 1 {
		t.Errorf("%d rows after the commit, want 1", n)
	}
}

func TestReaderCannotWrite(t *testing.T) {
	driver, _ := open(t)
	tx := begin(t, driver, true)
	if err := tx.Exec(t.Context(), insert, []any{"a"}, nil); !database.IsReadOnly(err) || !strings.Contains(err.Error(), "transaction.Write") {
		t.Errorf("a write in a reading transaction: %v", err)
	}
	if err := tx.Commit(); !database.IsReadOnly(err) {
		t.Errorf("its commit: %v", err)
	}
	if !databasetest.Postgres() && sqliteName() == "sqlite3" { // the other engine has no authorizer to refuse this
		tx := begin(t, driver, true)
		if err := tx.Exec(t.Context(), "PRAGMA query_only = OFF", []any{}, nil); !database.IsReadOnly(err) {
			t.Errorf("the setting that keeps it from writing: %v", err)
		}
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
}

func TestStatementAfterTheEndFails(t *testing.T) {
	driver, _ := open(t)
	tx := begin(t, driver, false)
	exec(t, tx, insert, "a")
	commit(t, tx)
	if err := tx.Exec(t.Context(), insert, []any{"b"}, nil); !errors.Is(err, sql.ErrTxDone) {
		t.Errorf("a statement after the commit: %v, want %v", err, sql.ErrTxDone)
	}
	if err := tx.Commit(); !errors.Is(err, sql.ErrTxDone) {
		t.Errorf("a second commit: %v, want %v", err, sql.ErrTxDone)
	}
	if n := number(t, driver, "SELECT count(*) FROM note"); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

func TestTransactionThatSQLiteEndedIsOver(t *testing.T) {
	databasetest.SQLiteOnly(t)
	driver, _ := open(t)
	exec(t, driver, "INSERT INTO note (value) VALUES ('taken')")
	tx := begin(t, driver, false)
	exec(t, tx, insert, "before")
	// The conflict rolls back the whole transaction, as a full disk would.
	if err := tx.Exec(t.Context(), "INSERT OR ROLLBACK INTO note (value) VALUES ('taken')", []any{}, nil); err == nil {
		t.Fatal("the conflict was not noticed")
	}
	commit(t, begin(t, driver, false)) // it has no statements, and changes nothing for the other one
	if err := tx.Exec(t.Context(), insert, []any{"after"}, nil); !errors.Is(err, database.ErrRolledBack) {
		t.Errorf("a statement: %v, want %v", err, database.ErrRolledBack)
	}
	if err := tx.Commit(); !errors.Is(err, database.ErrRolledBack) {
		t.Errorf("the commit: %v, want %v", err, database.ErrRolledBack)
	}
	if n := number(t, driver, "SELECT count(*) FROM note"); n != 1 {
		t.Errorf("%d rows, want the 1 from before", n)
	}
}

func TestFailedCommitLeavesNothing(t *testing.T) {
	driver, _ := open(t)
	exec(t, driver, "CREATE TABLE child (note TEXT REFERENCES note (value) DEFERRABLE INITIALLY DEFERRED)")
	tx := begin(t, driver, false)
	exec(t, tx, insert, "a")
	exec(t, tx, "INSERT INTO child (note) VALUES ('nobody')")
	if err := tx.Commit(); err == nil {
		t.Fatal("a violated foreign key was committed")
	}
	next := begin(t, driver, false)
	exec(t, next, insert, "b")
	commit(t, next)
	if n := number(t, driver, "SELECT count(*) FROM note WHERE value = 'a'"); n != 0 {
		t.Error("the failed transaction has left a row")
	}
}

func TestForgottenRowsDoNotHoldTheConnection(t *testing.T) {
	driver, _ := open(t)
	exec(t, driver, insert, "a")
	for range 20 { // more than there are readers
		for _, readOnly := range []bool{false, true} {
			tx := begin(t, driver, readOnly)
			var forgotten entsql.Rows
			if err := tx.Query(t.Context(), "SELECT value FROM note", []any{}, &forgotten); err != nil {
				t.Fatal(err)
			}
			commit(t, tx)
		}
	}
}

func TestCancelledWriterGoesNoFurther(t *testing.T) {
	driver, _ := open(t)
	tx := begin(t, driver, false)
	exec(t, tx, insert, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tx.Exec(ctx, insert, []any{"b"}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a statement of a cancelled request: %v", err)
	}
	if err := tx.Commit(); !errors.Is(err, context.Canceled) {
		t.Errorf("its commit: %v", err)
	}
	if n := number(t, driver, "SELECT count(*) FROM note"); n != 0 {
		t.Errorf("%d rows, want none", n)
	}
}

// TestRunningStatementIsNotInterrupted has a request end while its statement runs. Interrupted, SQLite would roll back
// more than the statement.
func TestRunningStatementIsNotInterrupted(t *testing.T) {
	databasetest.SQLiteOnly(t)
	driver, _ := open(t)
	tx := begin(t, driver, false)
	exec(t, tx, insert, "before")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	const slow = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) INSERT INTO note SELECT i FROM n"
	if err := tx.Exec(ctx, slow, []any{}, nil); err != nil {
		t.Errorf("the statement: %v", err)
	}
	<-ctx.Done()
	commit(t, tx)
	if n := number(t, driver, "SELECT count(*) FROM note"); n != 300_001 {
		t.Errorf("%d rows, want 300001", n)
	}
}

// TestWriterHasItsTurnFromTheBeginning reads in a writing transaction. If another process could write after that, the
// transaction could not: this is what happens here to a transaction of database/sql.
func TestWriterHasItsTurnFromTheBeginning(t *testing.T) {
	databasetest.SQLiteOnly(t)
	driver, path := open(t)
	other, err := sql.Open(sqliteName(), "file:"+url.PathEscape(path)+"?_busy_timeout=1")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tx := begin(t, driver, false)
	number(t, tx, "SELECT count(*) FROM note")
	if _, err := other.Exec("INSERT INTO note (value) VALUES ('other')"); !database.IsBusy(err) {
		t.Errorf("another process has written in between: %v", err)
	}
	exec(t, tx, insert, "a")
	commit(t, tx)
	if _, err := other.Exec("INSERT INTO note (value) VALUES ('other')"); err != nil {
		t.Errorf("another process cannot write: %v", err)
	}
	other.SetMaxOpenConns(1) // so that all statements that follow are in the transaction
	for _, statement := range []string{"BEGIN", "SELECT count(*) FROM note"} {
		if _, err := other.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, driver, insert, "b")
	if _, err := other.Exec("DELETE FROM note"); !database.IsRepeatable(err) || !database.IsBusy(err) {
		t.Errorf("a transaction that has read before another one wrote: %v", err)
	}
}

// TestTwoProcesses has two of them, so to speak, write the same file: each knows nothing of the other's turns.
func TestTwoProcesses(t *testing.T) {
	first, path := open(t)
	second := reopen(t, path)
	var clients sync.WaitGroup
	for i, driver := range []dialect.Driver{first, second} {
		for j := range 8 {
			clients.Go(func() {
				for k := range 25 {
					tx, err := driver.Tx(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					if err := tx.Exec(t.Context(), insert, []any{fmt.Sprint(i, " ", j, " ", k)}, nil); err != nil {
						t.Error(errors.Join(err, tx.Rollback()))
						return
					}
					if err := tx.Commit(); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	clients.Wait()
	if n := number(t, first, "SELECT count(*) FROM note"); n != 2*8*25 {
		t.Errorf("%d rows, want %d", n, 2*8*25)
	}
}

func TestRowsAffected(t *testing.T) {
	driver, _ := open(t)
	exec(t, driver, "INSERT INTO note (value) VALUES ('a'), ('b')")
	tx := begin(t, driver, false)
	for range 2 { // PostgreSQL is sent BEGIN with the first statement
		var result sql.Result
		if err := tx.Exec(t.Context(), "UPDATE note SET value = value || 'x'", []any{}, &result); err != nil {
			t.Fatal(err)
		}
		if n, err := result.RowsAffected(); n != 2 || err != nil {
			t.Errorf("%d rows, want 2: %v", n, err)
		}
	}
	commit(t, tx)
}

// TestScriptThatFailsBeforeItsCommit leaves the writer's connection in a transaction, in which nobody else must write.
func TestScriptThatFailsBeforeItsCommit(t *testing.T) {
	driver, _ := open(t)
	exec(t, driver, "INSERT INTO note (value) VALUES ('a'); INSERT INTO note (value) VALUES ('e')")
	const script = "BEGIN; INSERT INTO note (value) VALUES ('b'); INSERT INTO note (value) VALUES ('a'); COMMIT"
	if err := driver.Exec(t.Context(), script, []any{}, nil); err == nil {
		t.Fatal("the conflict was not noticed")
	}
	exec(t, driver, insert, "c")
	tx := begin(t, driver, false)
	exec(t, tx, insert, "d")
	commit(t, tx)
	if n := number(t, driver, "SELECT count(*) FROM note WHERE value IN ('a', 'c', 'd', 'e')"); n != 4 {
		t.Errorf("%d of 4 rows are there", n)
	}
	if n := number(t, driver, "SELECT count(*) FROM note WHERE value = 'b'"); n != 0 {
		t.Error("the failed script has left a row")
	}
}

// panicking is a value of the application's that does not get as far as the database.
type panicking struct{}

func (panicking) Value() (driver.Value, error) { panic("no value") }

func TestValueThatPanicsHoldsNoConnection(t *testing.T) {
	driver, _ := open(t)
	panics := func(run func(query string, args []any) error, query string) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Error("it did not panic")
			}
		}()
		_ = run(bind(query), []any{panicking{}})
	}
	query := func(on dialect.ExecQuerier) func(string, []any) error {
		return func(query string, args []any) error { return on.Query(t.Context(), query, args, &entsql.Rows{}) }
	}
	execute := func(on dialect.ExecQuerier) func(string, []any) error {
		return func(query string, args []any) error { return on.Exec(t.Context(), query, args, nil) }
	}
	for range 20 { // more than there are connections
		for _, readOnly := range []bool{false, true} {
			tx := begin(t, driver, readOnly)
			number(t, tx, "SELECT count(*) FROM note")
			panics(query(tx), "SELECT ?")
			panics(execute(tx), "SELECT ?")
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
		}
		panics(query(driver), "SELECT ?")
		panics(query(driver), "INSERT INTO note (value) VALUES (?) RETURNING value")
		panics(execute(driver), "INSERT INTO note (value) VALUES (?)")
	}
}

// failing is a driver.Valuer that fails.
type failing struct{}

var errNoValue = errors.New("no value")

func (failing) Value() (driver.Value, error) { return nil, errNoValue }

func TestValueThatFailsIsTheErrorOfItsStatement(t *testing.T) {
	driver, _ := open(t)
	statement, args := bind("INSERT INTO note (value) VALUES (?) RETURNING value"), []any{failing{}}
	tx := begin(t, driver, false)
	for _, on := range []dialect.ExecQuerier{tx, driver} {
		err := on.Query(t.Context(), statement, args, &entsql.Rows{})
		if !errors.Is(err, errNoValue) || !strings.Contains(err.Error(), "argument 1: ") {
			t.Errorf("%T: %v", on, err)
		}
	}
	if err := tx.Commit(); !errors.Is(err, errNoValue) {
		t.Errorf("the commit: %v", err)
	}
}

// TestArgumentsStayTheCallers stores a value that the argument makes of itself.
func TestArgumentsStayTheCallers(t *testing.T) {
	driver, _ := open(t)
	value := sql.NullString{String: "a", Valid: true}
	args := []any{value}
	exec(t, driver, insert, args...)
	var rows entsql.Rows
	if err := driver.Query(t.Context(), bind("SELECT value FROM note WHERE value = ?"), args, &rows); err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if stored, err := entsql.ScanString(rows); stored != "a" {
		t.Errorf("stored: %q, %v", stored, err)
	}
	if args[0] != any(value) {
		t.Errorf("the argument is now %v", args[0])
	}
}

// TestWaitForTheWriterIsTheRequestsToGiveUp stores what another transaction has stored: PostgreSQL waits for its end as well.
func TestWaitForTheWriterIsTheRequestsToGiveUp(t *testing.T) {
	driver, _ := open(t)
	holder := begin(t, driver, false)
	exec(t, holder, insert, "a")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	waiting, asked := begin(t, driver, false), time.Now()
	if err := waiting.Exec(ctx, insert, []any{"a"}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a wait that was given up: %v", err)
	}
	if waited := time.Since(asked); waited > 2*time.Second { // its own limit is five
		t.Errorf("it went on for %s", waited)
	}
	if err := waiting.Rollback(); err != nil {
		t.Error(err)
	}
	commit(t, holder)
}

func TestWaitForTheWriterIsBounded(t *testing.T) {
	databasetest.SQLiteOnly(t)
	synctest.Test(t, func(t *testing.T) {
		driver, _ := open(t)
		holder := begin(t, driver, false)
		exec(t, holder, insert, "a")
		// What a handler does that writes by the application's own client.
		outside := make(chan error)
		go func() { outside <- driver.Exec(t.Context(), insert, []any{"b"}, nil) }()
		other := begin(t, driver, false)
		if err := other.Exec(t.Context(), insert, []any{"c"}, nil); !database.IsBusy(err) {
			t.Errorf("another transaction: %v", err)
		}
		if err := <-outside; !database.IsBusy(err) || database.IsRepeatable(err) || !strings.Contains(err.Error(), "waits for its own end") {
			t.Errorf("a statement outside of the transaction: %v", err)
		}
		if err := other.Rollback(); err != nil {
			t.Error(err)
		}
		commit(t, holder)
	})
}

// TestWaitForAReaderIsBounded has all readers taken by transactions, one of which reads outside of itself as well.
func TestWaitForAReaderIsBounded(t *testing.T) {
	databasetest.SQLiteOnly(t)
	synctest.Test(t, func(t *testing.T) {
		driver, _ := open(t)
		var taken []dialect.Tx
		for range max(16, 2*runtime.NumCPU()) {
			tx := begin(t, driver, true)
			number(t, tx, "SELECT count(*) FROM note")
			taken = append(taken, tx)
		}
		waiting, failed := begin(t, driver, true), make(chan error)
		go func() { failed <- waiting.Exec(t.Context(), "SELECT 1", []any{}, nil) }()
		synctest.Wait()
		if stats, err := database.Stats(t.Context(), driver); err != nil || stats.Connections != len(taken) || stats.Waiting != 1 {
			t.Errorf("%+v: %v", stats, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var rows entsql.Rows
		if err := driver.Query(ctx, "SELECT count(*) FROM note", []any{}, &rows); !database.IsBusy(err) {
			t.Errorf("the query: %v", err)
		}
		if err := <-failed; !database.IsBusy(err) {
			t.Errorf("another transaction: %v", err)
		}
		if err := waiting.Rollback(); err != nil {
			t.Error(err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := driver.Query(ctx, "SELECT count(*) FROM note", []any{}, &rows); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one that gave up: %v", err)
		}
		for _, tx := range taken {
			commit(t, tx)
		}
		if stats, err := database.Stats(t.Context(), driver); err != nil || stats.Connections != 0 || stats.Waiting != 0 {
			t.Errorf("at the end: %+v: %v", stats, err)
		}
	})
}

func TestTrace(t *testing.T) {
	driver, _ := open(t)
	ctx, trace := database.Trace(t.Context())
	tx, err := driver.Tx(ctx)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, tx, insert, "a")
	number(t, tx, "SELECT count(*) FROM note")
	commit(t, tx)
	if statements, waited := trace(); statements != 2 || waited <= 0 {
		t.Errorf("%d statements, waited %s", statements, waited)
	}
}

func TestFullDatabase(t *testing.T) {
	databasetest.SQLiteOnly(t)
	driver, _ := open(t)
	exec(t, driver, "PRAGMA max_page_count = 10")
	tx := begin(t, driver, false)
	err := tx.Exec(t.Context(), insert, []any{strings.Repeat("x", 100_000)}, nil)
	if !database.IsFull(err) {
		t.Errorf("a full database: %v", err)
	}
	if err := tx.Commit(); err == nil {
		t.Error("the commit succeeded, although SQLite has rolled back")
	}
	exec(t, driver, insert, "small")
}

// TestClosedDatabaseIsOneFile closes it at once after what has used connections, many times.
func TestClosedDatabaseIsOneFile(t *testing.T) {
	databasetest.SQLiteOnly(t)
	path := filepath.Join(t.TempDir(), "test.db")
	for range 150 {
		driver, err := database.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		exec(t, driver, "CREATE TABLE IF NOT EXISTS note (value TEXT)")
		tx := begin(t, driver, true)
		number(t, tx, "SELECT count(*) FROM note")
		commit(t, tx)
		number(t, driver, "INSERT INTO note (value) VALUES ('a') RETURNING 1")
		number(t, driver, "SELECT count(*) FROM note")
		if err := driver.Close(); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(entries) != 1 {
			t.Fatalf("left behind: %v (error %v), want the database alone", entries, err)
		}
	}
}

// TestClosedWhileInUse closes the database before a transaction has ended. Its connection is closed then, and it was the last
// one: SQLite has removed the log.
func TestClosedWhileInUse(t *testing.T) {
	databasetest.SQLiteOnly(t)
	for _, readOnly := range []bool{false, true} {
		driver, path := open(t)
		tx := begin(t, driver, readOnly)
		number(t, tx, "SELECT count(*) FROM note")
		if err := driver.Close(); err != nil {
			t.Fatal(err)
		}
		if err := tx.Rollback(); err != nil {
			t.Errorf("read only %t: %v", readOnly, err)
		}
		if _, err := os.Stat(path + "-wal"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("read only %t: a connection is still open: %v", readOnly, err)
		}
	}
}

// TestCloseKeepsWhatAnotherProcessWroteWithAnIndexOfItsOwn deletes the index of the log. A process that then opens the database makes
// another index. The old one does not know what that process writes to the log.
func TestCloseKeepsWhatAnotherProcessWroteWithAnIndexOfItsOwn(t *testing.T) {
	databasetest.SQLiteOnly(t)
	const variable = "DATABASE_TEST_RECORD"
	if path := os.Getenv(variable); path != "" {
		exec(t, reopen(t, path), insert, "b")
		return
	}
	driver, path := open(t)
	exec(t, driver, insert, "a")
	if err := os.Remove(path + "-shm"); err != nil {
		t.Fatal(err)
	}
	process := osexec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	process.Env = append(os.Environ(), variable+"="+path)
	if output, err := process.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	if err := driver.Close(); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir() // for the old path, SQLite would still use the deleted index in this process
	if err := os.CopyFS(folder, os.DirFS(filepath.Dir(path))); err != nil {
		t.Fatal(err)
	}
	if n := number(t, reopen(t, filepath.Join(folder, filepath.Base(path))), "SELECT count(*) FROM note"); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	databasetest.SQLiteOnly(t)
	folder := t.TempDir()
	text := filepath.Join(folder, "letter.txt")
	if err := os.WriteFile(text, []byte(strings.Repeat("Dear Anna, ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, url, want string }{
		{"no folder", filepath.Join(folder, "none", "a.db"), "the folder " + filepath.Join(folder, "none") + " does not exist"},
		{"a file for a folder", filepath.Join(text, "a.db"), text + " is not a folder"},
		{"a folder for a file", folder, folder + " is a folder: use the path of a file in it, such as " + filepath.Join(folder, "daybook.db")},
		{"not a database", text, text + " is not a SQLite database"},
		{"nothing", "", "the path of a SQLite file is missing"},
		{"memory", ":memory:", ":memory: would lose everything at the end"},
		{"shared memory", "file::memory:?cache=shared", "would lose everything at the end"},
		{"another kind", "mysql://root:secret@host/db", "mysql:// is not supported"},
	}
	if _, err := os.Stat("/proc/self"); err == nil { // where not even root makes a file
		tests = append(tests, struct{ name, url, want string }{
			"not writable", "/proc/self/a.db", "/proc/self/a.db: the file and its folder must be writable",
		})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			driver, err := database.Open(t.Context(), test.url)
			if err == nil {
				driver.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got  %q\nwant %q", err, test.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(folder, "new.db")
	if _, err := database.Open(ctx, path); !errors.Is(err, context.Canceled) || !strings.HasSuffix(err.Error(), path+": context canceled") {
		t.Errorf("one that was given up: %v", err)
	}
	if content, err := os.ReadFile(text); err != nil || !strings.HasPrefix(string(content), "Dear Anna") {
		t.Error("the file that is no database was changed")
	}
}

// sqliteName returns the name under which database/sql has SQLite's driver.
func sqliteName() string {
	names := sql.Drivers()
	return names[slices.IndexFunc(names, func(name string) bool { return strings.HasPrefix(name, "sqlite") })]
}
