package database_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"daybook/database"
	"daybook/database/databasetest"
)

// TestServer has tests of what is PostgreSQL's only. They share a server.
func TestServer(t *testing.T) {
	own(t)
	server := databasetest.Start(t, "fsync=off", "max_connections=300")
	for name, test := range map[string]func(*testing.T, *databasetest.Server){
		"isolation levels":                 testLevels,
		"write skew":                       testWriteSkew,
		"error while rows are read":        testErrorWhileRowsAreRead,
		"first query that fails":           testFirstQueryFails,
		"rows that are open":               testOpenRows,
		"statements that control":          testControlStatements,
		"COMMIT goes on":                   testCommitGoesOn,
		"COMMIT that fails":                testCommitFails,
		"cancelled query":                  testCancelledQuery,
		"answer of BEGIN is lost":          testLostBegin,
		"answer of COMMIT is lost":         testLostAnswer,
		"connection is lost before COMMIT": testLostBeforeCommit,
		"meaning of errors":                testMeaning,
		"settings of a connection":         testSettings,
		"size of the pool":                 testPoolSize,
		"nothing is left":                  testNothingIsLeft,
		"one that listens":                 testListen,
		"held too long":                    testHeldTooLong,
		"statistics":                       testStatistics,
		"server that answers nothing":      testPingEnds,
		"server that falls silent":         testSilence,
		"TLS":                              testTLS,
		"what Open refuses":                testOpenRefuses,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // some wait for seconds
			test(t, server)
		})
	}
}

// own skips a test that has a server of its own when all run again on PostgreSQL.
func own(t *testing.T) {
	t.Helper()
	if databasetest.Postgres() {
		t.Skip("this runs once, on a server of its own")
	}
}

// openOn opens a new database on the server with a table note(value). The parameters are added to its URL.
func openOn(t *testing.T, server *databasetest.Server, parameters string) (driver dialect.Driver, url string) {
	t.Helper()
	url = server.New(t) + parameters
	driver = reopen(t, url)
	exec(t, driver, "CREATE TABLE note (value TEXT UNIQUE)")
	return driver, url
}

func beginWith(t *testing.T, driver dialect.Driver, options *sql.TxOptions) dialect.Tx {
	t.Helper()
	tx, err := driver.(interface {
		BeginTx(context.Context, *sql.TxOptions) (dialect.Tx, error)
	}).BeginTx(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

// text returns the one text that the query yields.
func text(t *testing.T, on dialect.ExecQuerier, query string) string {
	t.Helper()
	var rows entsql.Rows
	if err := on.Query(t.Context(), query, []any{}, &rows); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	value, err := entsql.ScanString(rows)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}

// eventually waits until it is so.
func eventually(t *testing.T, limit time.Duration, what string, is func() bool) {
	t.Helper()
	for begun := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > limit {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

func testLevels(t *testing.T, server *databasetest.Server) {
	driver, url := openOn(t, server, "")
	alone := reopen(t, url+"&default_query_exec_mode=exec") // BEGIN is sent alone
	for _, test := range []struct {
		options         sql.TxOptions
		level, readOnly string
	}{
		{sql.TxOptions{}, "read committed", "off"},
		{sql.TxOptions{ReadOnly: true}, "repeatable read", "on"},
		{sql.TxOptions{Isolation: sql.LevelReadUncommitted}, "read uncommitted", "off"},
		{sql.TxOptions{Isolation: sql.LevelReadCommitted, ReadOnly: true}, "read committed", "on"},
		{sql.TxOptions{Isolation: sql.LevelRepeatableRead}, "repeatable read", "off"},
		{sql.TxOptions{Isolation: sql.LevelSnapshot}, "repeatable read", "off"},
		{sql.TxOptions{Isolation: sql.LevelSerializable}, "serializable", "off"},
		{sql.TxOptions{Isolation: sql.LevelSerializable, ReadOnly: true}, "serializable", "on"},
	} {
		for _, driver := range []dialect.Driver{driver, alone} {
			tx := beginWith(t, driver, &test.options)
			level, readOnly := text(t, tx, "SHOW transaction_isolation"), text(t, tx, "SHOW transaction_read_only")
			if level != test.level || readOnly != test.readOnly {
				t.Errorf("%+v: %s, read only %s", test.options, level, readOnly)
			}
			commit(t, tx)
		}
	}
	for _, level := range []sql.IsolationLevel{sql.LevelWriteCommitted, sql.LevelLinearizable, 99} {
		_, err := driver.(interface {
			BeginTx(context.Context, *sql.TxOptions) (dialect.Tx, error)
		}).BeginTx(t.Context(), &sql.TxOptions{Isolation: level})
		if err == nil || !strings.Contains(err.Error(), level.String()) {
			t.Errorf("%s: %v", level, err)
		}
	}
}

// testWriteSkew has two transactions each write because of what it has read, and the other one makes untrue.
func testWriteSkew(t *testing.T, server *databasetest.Server) {
	driver, _ := openOn(t, server, "")
	var ends []error
	var both []dialect.Tx
	for range 2 {
		tx := beginWith(t, driver, &sql.TxOptions{Isolation: sql.LevelSerializable})
		number(t, tx, "SELECT count(*) FROM note")
		both = append(both, tx)
	}
	for i, tx := range both {
		err := tx.Exec(t.Context(), "INSERT INTO note VALUES ($1)", []any{string(rune('a' + i))}, nil)
		ends = append(ends, errors.Join(err, tx.Commit()))
	}
	if ends[0] != nil || !database.IsRepeatable(ends[1]) || database.IsBusy(ends[1]) {
		t.Errorf("the two ended with %v", ends)
	}
}

// testErrorWhileRowsAreRead has the server fail after the first rows. Nobody notices before COMMIT, whose answer is ROLLBACK.
func testErrorWhileRowsAreRead(t *testing.T, server *databasetest.Server) {
	driver, _ := openOn(t, server, "")
	tx := begin(t, driver, false)
	exec(t, tx, "INSERT INTO note VALUES ('a')")
	var rows entsql.Rows
	if err := tx.Query(t.Context(), "SELECT 1 / (3 - i) FROM generate_series(1, 10) AS i", []any{}, &rows); err != nil {
		t.Fatal(err)
	}
	rows.Next()
	if err := tx.Commit(); !errors.Is(err, database.ErrRolledBack) || database.IsUnknown(err) {
		t.Errorf("the commit: %v", err)
	}
	if n := number(t, driver, "SELECT count(*) FROM note"); n != 0 {
		t.Errorf("%d rows, want none", n)
	}
}

// testFirstQueryFails has a transaction's first query fail at its first row, which is an error of Query, and at a later one.
func testFirstQueryFails(t *testing.T, server *databasetest.Server) {
	driver, _ := openOn(t, server, "&pool_max_conns=1")
	pid := number(t, driver, "SELECT pg_backend_pid()")
	for _, row := range []int{1, 3} {
		tx := begin(t, driver, true)
		var rows entsql.Rows
		err := tx.Query(t.Context(), "SELECT 1 / (i - $1) FROM generate_series(1, 3) AS i", []any{row}, &rows)
		if (err != nil) != (row == 1) {
			t.Errorf("row %d: Query: %v", row, err)
		}
		if err == nil {
			for rows.Next() {
			}
			err = rows.Err()
		}
		if err == nil || database.IsReadOnly(err) {
			t.Errorf("row %d: %v", row, err)
		}
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
	if next := number(t, driver, "SELECT pg_backend_pid()"); next != pid {
		t.Error("the connection is not used again")
	}
}

// testOpenRows has a statement come before the rows of another one are read.
func testOpenRows(t *testing.T, server *databasetest.Server) {
	driver, _ := openOn(t, server, "")
	tx := begin(t, driver, false)
	exec(t, tx, "SAVEPOINT s")
	var rows entsql.Rows
	if err := tx.Query(t.Context(), "SELECT generate_series(1, 3)", []any{}, &rows); err != nil {
		t.Fatal(err)
	}
	err := tx.Exec(t.Context(), "INSERT INTO note VALUES ('a')", []any{}, nil)
	if err == nil || !strings.Contains(err.Error(), "close them") || database.IsBusy(err) {
		t.Errorf("a statement beside open rows: %v", err)
	}
	n := 0
	for rows.Next() {
		n++
	}
	if n != 3 || rows.Err() != nil {
		t.Errorf("%d rows were read: %v", n, rows.Err())
	}
	exec(t, tx, "ROLLBACK TO s")
	exec(t, tx, "INSERT INTO note VALUES ('b')")
	commit(t, tx)
	if got := text(t, driver, "SELECT value FROM note"); got != "b" {
		t.Errorf("stored: %q", got)
	}
}

func testControlStatements(t *testing.T, server *databasetest.Server) {
	driver, _ := openOn(t, server, "&pool_max_conns=1")
	query := func(tx dialect.Tx, statement string) error {
		return tx.Query(t.Context(), statement, []any{}, &entsql.Rows{})
	}
	exec := func(tx dialect.Tx, statement string) error { return tx.Exec(t.Context(), statement, []any{}, nil) }
	for _, statement := range []string{
		"COMMIT", " commit ;", "END TRANSACTION", "ROLLBACK", "rollback work", "ABORT", "BEGIN", "START TRANSACTION", "COMMIT AND CHAIN",
		"PREPARE TRANSACTION 'a'", "SELECT 1; COMMIT", "COMMIT; SELECT 1", "/* */ COMMIT", "/* /* */ */ COMMIT", "-- \nCOMMIT",
		"; COMMIT", "ROLLBACK TO s; COMMIT", "DO $$ BEGIN COMMIT; END $$",
	} {
		for way, run := range map[string]func(dialect.Tx, string) error{"Exec": exec, "Query": query} {
			tx := begin(t, driver, false)
			if err := exec(tx, "INSERT INTO note VALUES ('a')"); err != nil {
				t.Fatal(err)
			}
			if err := run(tx, statement); err == nil {
				t.Errorf("%s %q is not refused", way, statement)
			}
			if err := tx.Commit(); err == nil {
				t.Errorf("%s %q: the commit succeeded", way, statement)
			}
			if n := number(t, driver, "SELECT count(*) FROM note"); n != 0 {
				t.Fatalf("%s %q: %d rows are stored", way, statement, n)
			}
		}
	}
	tx := begin(t, driver, false)
	if err := exec(tx, "COMMIT"); err == nil {
		t.Error("COMMIT is not refused as the first statement")
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	if err := driver.Exec(t.Context(), "INSERT INTO note VALUES ('outside')", []any{}, nil); err != nil {
		t.Error(err)
	}
	if n := number(t, driver, "SELECT count(*) FROM note"); n != 1 {
		t.Errorf("%d rows, want the one that was stored outside", n)
	}
}

// testCommitGoesOn has the request's context end during a COMMIT that takes some time.
func testCommitGoesOn(t *testing.T, server *databasetest.Server) {
	driver, _ := openOn(t, server, "&pool_max_conns=1")
	for _, statement := range []string{
		"CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''slow''; PERFORM pg_sleep(0.3); RETURN NULL; END'",
		"CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON note DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()",
	} {
		exec(t, driver, statement)
	}
	pid := number(t, driver, "SELECT pg_backend_pid()")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tx, err := driver.Tx(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Exec(ctx, "INSERT INTO note VALUES ('a')", []any{}, nil); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, cancel)
	commit(t, tx)
	if ctx.Err() == nil {
		t.Fatal("the commit was too fast")
	}
	if n := number(t, driver, "SELECT count(*) FROM note"); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
	if next := number(t, driver, "SELECT pg_backend_pid()"); next != pid {
		t.Error("the connection is not used again")
	}
}

// testCommitFails has COMMIT fire a trigger that fails, or ends the server's process: then nobody knows.
func testCommitFails(t *testing.T, server *databasetest.Server) {
	driver, _ := openOn(t, server, "&pool_max_conns=1")
	exec(t, driver, "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "+
		"'BEGIN PERFORM NEW.value = ''end'' AND pg_terminate_backend(pg_backend_pid()); RAISE unique_violation; END'")
	exec(t, driver, "CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON note DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()")
	for value, means := range map[string]func(error) bool{"fail": database.IsConstraint, "end": database.IsUnknown} {
		tx := begin(t, driver, false)
		exec(t, tx, "INSERT INTO note VALUES ($1)", value)
		if err := tx.Commit(); !means(err) || database.IsConstraint(err) == database.IsUnknown(err) {
			t.Errorf("%s: %v", value, err)
		}
	}
	if n := number(t, driver, "SELECT count(*) FROM note"); n != 0 {
		t.Errorf("%d rows, want none", n)
	}
}

func testCancelledQuery(t *testing.T, server *databasetest.Server) {
	driver, url := openOn(t, server, "&pool_max_conns=1")
	other := reopen(t, url)
	pid := number(t, driver, "SELECT pg_backend_pid()")
	before, tx := begin(t, driver, true), begin(t, driver, true)
	number(t, before, "SELECT 1")
	commit(t, before) // COMMIT is never cancelled, what comes after it is
	asleep := func() int {
		return number(t, other, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()")
	}
	for name, on := range map[string]dialect.ExecQuerier{"in a transaction": tx, "outside": driver} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		answer := make(chan error, 1)
		go func() { answer <- on.Query(ctx, "SELECT pg_sleep(60)", []any{}, &entsql.Rows{}) }()
		// The server ignores a request to cancel a statement that it has not read yet.
		eventually(t, 10*time.Second, "the server carries out the query", func() bool { return asleep() == 1 })
		cancel()
		cancelled := time.Now()
		if err := <-answer; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(cancelled); took > 3*time.Second {
			t.Errorf("%s: it was cancelled after %s", name, took)
		}
		eventually(t, time.Second, "the server has cancelled the query", func() bool { return asleep() == 0 })
		if name == "in a transaction" {
			if err := tx.Rollback(); err != nil {
				t.Error(err)
			}
		}
		// A busy server could cancel the next statement: it may carry out the request late.
		next := number(t, driver, "SELECT pg_backend_pid()")
		if next == pid {
			t.Errorf("%s: the connection is used again", name)
		}
		pid = next
	}
}

func testMeaning(t *testing.T, server *databasetest.Server) {
	driver, _ := openOn(t, server, "")
	meanings := map[string]func(error) bool{
		"busy": database.IsBusy, "full": database.IsFull, "read-only": database.IsReadOnly, "corrupt": database.IsCorrupt,
		"constraint": database.IsConstraint, "repeatable": database.IsRepeatable, "unknown": database.IsUnknown,
	}
	for code, meaning := range map[string]string{
		"53100": "full", "53300": "busy", "55P03": "busy", "57P01": "busy", "57P03": "busy", "08006": "busy",
		"23505": "constraint", "23503": "constraint", "23514": "constraint", "23P01": "constraint", "25006": "read-only",
		"XX001": "corrupt", "XX002": "corrupt", "40001": "repeatable", "40P01": "repeatable",
		"57014": "", "42601": "", "53200": "", "40003": "", "XX000": "corrupt",
	} {
		err := raise(t, driver, code)
		for name, is := range meanings {
			if is(err) != (name == meaning) {
				t.Errorf("%s: %s is %t, of %v", code, name, is(err), err)
			}
		}
	}
	tx := begin(t, driver, false)
	if err := errors.Join(raise(t, tx, "25006"), tx.Rollback()); strings.Contains(err.Error(), "transaction.Write") {
		t.Errorf("a transaction that writes: %v", err)
	}
}

func testSettings(t *testing.T, server *databasetest.Server) {
	show := func(driver dialect.Driver, want map[string]string) {
		t.Helper()
		for setting, want := range want {
			if got := text(t, driver, "SHOW "+setting); got != want {
				t.Errorf("%s is %q, want %q", setting, got, want)
			}
		}
	}
	driver, url := openOn(t, server, "")
	show(driver, map[string]string{"lock_timeout": "5s", "idle_in_transaction_session_timeout": "20s", "client_encoding": "UTF8",
		"application_name": filepath.Base(os.Args[0])})
	if stats, err := database.Stats(t.Context(), driver); stats.MaxConnections != max(32, 4*runtime.NumCPU()) {
		t.Errorf("the pool has %d connections, %v", stats.MaxConnections, err)
	}
	other := reopen(t, strings.Replace(url, "postgres", "postgresql", 1)+"&lock_timeout=7s&application_name=a%20test&work_mem=5MB")
	show(other, map[string]string{"lock_timeout": "7s", "application_name": "a test", "work_mem": "5MB"})
	for _, setting := range []string{"pool_max_conn_lifetime", "pool_max_conn_idle_time"} {
		short := reopen(t, url+"&pool_max_conns=1&"+setting+"=1us")
		pid := number(t, short, "SELECT pg_backend_pid()")
		eventually(t, 30*time.Second, setting, func() bool {
			time.Sleep(1500 * time.Millisecond) // database/sql looks once a second which connections nobody uses
			return number(t, short, "SELECT pg_backend_pid()") != pid
		})
	}
}

func testPoolSize(t *testing.T, server *databasetest.Server) {
	driver, _ := openOn(t, server, "&pool_max_conns=2") // of which one may write
	var taken []dialect.Tx
	for range 2 {
		begin(t, driver, false) // takes nothing
		tx := begin(t, driver, true)
		number(t, tx, "SELECT 1")
		taken = append(taken, tx)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	third := begin(t, driver, true)
	if err := third.Exec(ctx, "SELECT 1", []any{}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one that gave up: %v", err)
	}
	asked := time.Now()
	var waiting sync.WaitGroup
	for name, on := range map[string]dialect.ExecQuerier{"a transaction": begin(t, driver, false), "a statement outside": driver} {
		waiting.Go(func() {
			if err := on.Exec(t.Context(), "SELECT 1", []any{}, nil); !database.IsBusy(err) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	waiting.Wait()
	if took := time.Since(asked); took < 4*time.Second || took > 7*time.Second {
		t.Errorf("they waited for %s, want 5 s", took)
	}
	for _, tx := range taken {
		commit(t, tx)
	}
	number(t, driver, "SELECT 1")
	writer := begin(t, driver, false)
	exec(t, writer, "INSERT INTO note VALUES ('a')")
	commit(t, writer)
}

// testNothingIsLeft closes a driver, also while a transaction and rows are open.
func testNothingIsLeft(t *testing.T, server *databasetest.Server) {
	watcher, url := openOn(t, server, "")
	for _, inUse := range []bool{false, true} {
		driver, err := database.Open(t.Context(), url+"&application_name=closed")
		if err != nil {
			t.Fatal(err)
		}
		tx := begin(t, driver, false)
		exec(t, tx, "INSERT INTO note VALUES ('a')")
		if !inUse {
			if err := tx.Rollback(); err != nil {
				t.Error(err)
			}
			if n := number(t, watcher, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'closed' AND state != 'idle'"); n != 0 {
				t.Error("the rollback has left the transaction open")
			}
		}
		if err := driver.Close(); err != nil {
			t.Error(err)
		}
		if inUse {
			if err := tx.Rollback(); err != nil {
				t.Errorf("a rollback after the close: %v", err)
			}
		}
		eventually(t, time.Second, "the connections are closed", func() bool {
			return number(t, watcher, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'closed'") == 0
		})
		if err := driver.Exec(t.Context(), "SELECT 1", []any{}, nil); err == nil {
			t.Error("a statement of a closed driver succeeded")
		}
	}
	if n := number(t, watcher, "SELECT count(*) FROM note"); n != 0 {
		t.Errorf("%d rows, want none", n)
	}
}

// testListen has the server end the connection of one that listens.
func testListen(t *testing.T, server *databasetest.Server) {
	driver, _ := openOn(t, server, "")
	if err := database.Listen(t.Context(), driver, "news", func() {
		exec(t, driver, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()")
	}); !database.IsBusy(err) {
		t.Errorf("it has ended with %v", err)
	}
}

// testHeldTooLong has transactions do nothing for more than 10 seconds: one that writes, which may hold locks, one that reads and
// keeps the only connection from others, and one that reads and hinders nobody.
func testHeldTooLong(t *testing.T, server *databasetest.Server) {
	driver, url := openOn(t, server, "")
	writer := begin(t, driver, false)
	exec(t, writer, "INSERT INTO note VALUES ('a')")
	harmless := begin(t, driver, true)
	number(t, harmless, "SELECT count(*) FROM note")
	small := reopen(t, url+"&pool_max_conns=1")
	reader := begin(t, small, true)
	number(t, reader, "SELECT count(*) FROM note")
	eventually(t, 15*time.Second, "others go on", func() bool {
		err := small.Exec(t.Context(), "INSERT INTO note VALUES ('a')", []any{}, nil)
		if err != nil && !database.IsBusy(err) {
			t.Fatal(err)
		}
		return err == nil
	})
	for name, tx := range map[string]dialect.Tx{"writer": writer, "reader": reader} {
		if err := tx.Exec(t.Context(), "SELECT 1", []any{}, nil); !errors.Is(err, database.ErrHeldTooLong) {
			t.Errorf("the %s's statement: %v", name, err)
		}
		if err := tx.Commit(); !errors.Is(err, database.ErrHeldTooLong) {
			t.Errorf("the %s's commit: %v", name, err)
		}
	}
	if n := number(t, harmless, "SELECT count(*) FROM note"); n != 0 {
		t.Errorf("the snapshot has changed: it has %d rows", n)
	}
	commit(t, harmless)
}

func testOpenRefuses(t *testing.T, server *databasetest.Server) {
	driver, with := openOn(t, server, "")
	exec(t, driver, "CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
	defer exec(t, driver, "DROP DATABASE ascii WITH (FORCE)")
	for name, test := range map[string]struct{ url, want string }{
		"encoding":      {server.URL("ascii"), "SQL_ASCII"},
		"no database":   {server.URL("nothing"), "nothing"},
		"not a URL":     {"postgres://user:secret@host:port/db", "cannot be read"},
		"not a setting": {"postgres://user:secret@host/db?sslmode=maybe", "sslmode"},
		"no server":     {"postgres://user:secret@/db?host=" + t.TempDir(), "connect"},
		"simple":        {with + "&default_query_exec_mode=simple_protocol", "simple_protocol"},
		"no TLS":        {with + "&sslmode=require&port=1", ""},
	} {
		opened, err := database.Open(t.Context(), test.url)
		if err == nil {
			_ = opened.Close()
			t.Errorf("%s: it was opened", name)
		} else if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestServerThatIsRestarted has connections that nobody uses while the server ends, and others ask while there is none.
func TestServerThatIsRestarted(t *testing.T) {
	own(t)
	server := databasetest.Start(t, "fsync=off")
	driver, _ := openOn(t, server, "")
	var idle []dialect.Tx
	for range 5 {
		tx := begin(t, driver, true)
		number(t, tx, "SELECT 1")
		idle = append(idle, tx)
	}
	for _, tx := range idle {
		commit(t, tx)
	}
	for _, signal := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGINT} {
		server.End(signal)
		if err := server.Begin(); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			tx := begin(t, driver, i%2 == 0)
			number(t, tx, "SELECT count(*) FROM note")
			commit(t, tx)
			exec(t, driver, "DELETE FROM note")
		}
		server.End(signal)
		for name, ask := range map[string]func() error{
			"a transaction":       func() error { return begin(t, driver, false).Exec(t.Context(), "SELECT 1", []any{}, nil) },
			"a statement outside": func() error { return driver.Exec(t.Context(), "SELECT 1", []any{}, nil) },
			"a query outside":     func() error { return driver.Query(t.Context(), "SELECT 1", []any{}, &entsql.Rows{}) },
			"Check":               func() error { return database.Check(t.Context(), driver, migrations(t, createFirst)) },
		} {
			asked := time.Now()
			if err := ask(); !database.IsBusy(err) || time.Since(asked) > 6*time.Second {
				t.Errorf("%s while there is no server: %v after %s", name, err, time.Since(asked))
			}
		}
		if err := server.Begin(); err != nil {
			t.Fatal(err)
		}
		number(t, driver, "SELECT count(*) FROM note")
	}
}

// TestSynchronousStandby has COMMIT wait for a standby that is not there.
func TestSynchronousStandby(t *testing.T) {
	own(t)
	server := databasetest.Start(t, "fsync=off", "synchronous_standby_names=x", "synchronous_commit=local")
	direct, url := openOn(t, server, "")
	driver := reopen(t, url+"&synchronous_commit=on&pool_max_conns=1")
	const waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
	for i, cancelled := range []bool{true, false} {
		before, tx := begin(t, driver, true), begin(t, driver, false)
		number(t, before, "SELECT 1")
		commit(t, before) // on another connection than the one whose wait was cancelled
		exec(t, tx, "INSERT INTO note VALUES ($1)", string(rune('a'+i)))
		asked, ended := time.Now(), make(chan error)
		go func() { ended <- tx.Commit() }()
		eventually(t, time.Second, "COMMIT waits", func() bool { return number(t, direct, "SELECT count(*) "+waiting) == 1 })
		if cancelled {
			exec(t, direct, "SELECT pg_cancel_backend(pid) "+waiting)
		}
		if err := <-ended; !database.IsUnknown(err) || database.IsBusy(err) {
			t.Errorf("cancelled by an administrator %t: %v", cancelled, err)
		}
		if took := time.Since(asked); !cancelled && (took < 9*time.Second || took > 12*time.Second) {
			t.Errorf("it gave up after %s, want 10 s", took)
		}
		later := reopen(t, url) // its connections come after one that would cancel the wait
		if n := number(t, later, "SELECT count(*) "+waiting); !cancelled && n != 1 {
			t.Error("giving up has cancelled the server's wait")
		}
		exec(t, direct, "SELECT pg_terminate_backend(pid) "+waiting)
	}
}

// testStatistics has a pool of four connections, of which three may write: three transactions do, one waits, and one has given up.
func testStatistics(t *testing.T, server *databasetest.Server) {
	driver, _ := openOn(t, server, "&pool_max_conns=4")
	var writers []dialect.Tx
	for range 3 {
		tx := beginWith(t, driver, nil)
		exec(t, tx, "SELECT 1")
		writers = append(writers, tx)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := begin(t, driver, false).Exec(ctx, "SELECT 1", []any{}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one that gave up: %v", err)
	}
	last, stored := beginWith(t, driver, nil), make(chan error)
	go func() { stored <- last.Exec(t.Context(), "INSERT INTO note VALUES ('a')", []any{}, nil) }()
	eventually(t, 10*time.Second, "a transaction that waits", func() bool {
		stats, err := database.Stats(t.Context(), driver)
		return err == nil && stats == database.Statistics{Size: stats.Size, Connections: 3, MaxConnections: 4, Waiting: 1} && stats.Size > 1<<20
	})
	if err := errors.Join(database.Ping(t.Context(), driver), writers[0].Commit(), <-stored); err != nil {
		t.Error(err)
	}
	for _, tx := range append(writers[1:], last) {
		commit(t, tx)
	}
}

// testPingEnds has a server that is frozen: the connection is open, but nothing comes.
func testPingEnds(t *testing.T, server *databasetest.Server) {
	_, url := openOn(t, server, "")
	p, url := databasetest.Through(t, "127.0.0.1:0", url, nil)
	driver := reopen(t, url)
	if err := database.Ping(t.Context(), driver); err != nil {
		t.Fatal(err)
	}
	thaw := p.Freeze()
	for _, ask := range []func(context.Context) error{
		func(ctx context.Context) error { return database.Ping(ctx, driver) },
		func(ctx context.Context) error { _, err := database.Stats(ctx, driver); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		begun := time.Now()
		if err := ask(ctx); err == nil || time.Since(begun) > 2*time.Second {
			t.Errorf("after %s: %v", time.Since(begun), err)
		}
		cancel()
	}
	thaw()
	eventually(t, 10*time.Second, "the server answers again", func() bool { return database.Ping(t.Context(), driver) == nil })
}

// testSilence has a server fall silent while statements of all kinds run. They end. Long statements of a server that answers others, or
// says that it has no room for them, do not.
func testSilence(t *testing.T, server *databasetest.Server) {
	direct, url := openOn(t, server, "")
	exec(t, direct, "CREATE ROLE alone LOGIN CONNECTION LIMIT 1")
	alone := reopen(t, strings.Replace(url, "postgres@", "alone@", 1))
	p, through := databasetest.Through(t, "127.0.0.1:0", url, nil)
	driver, other := reopen(t, through), reopen(t, through) // with a connection each that nobody uses when the server falls silent
	begun, reading := begin(t, driver, false), begin(t, driver, true)
	exec(t, begun, "INSERT INTO note VALUES ('refused')")
	var rows entsql.Rows
	if err := reading.Query(t.Context(), "SELECT repeat('x', 10000), pg_sleep(0.01) FROM generate_series(1, 10000)", []any{}, &rows); err != nil {
		t.Fatal(err)
	}
	fresh := begin(t, driver, false)
	thaw := p.Freeze()
	frozen := time.Now()
	var running sync.WaitGroup
	for name, test := range map[string]struct {
		run   func() error
		means func(error) bool
	}{
		"in a transaction":        {func() error { return begun.Exec(t.Context(), "SELECT 1", []any{}, nil) }, database.IsBusy},
		"first in a transaction":  {func() error { return fresh.Exec(t.Context(), "SELECT 1", []any{}, nil) }, database.IsBusy},
		"outside, reads":          {func() error { return driver.Query(t.Context(), "SELECT 1", []any{}, &entsql.Rows{}) }, database.IsBusy},
		"outside, perhaps writes": {func() error { return other.Exec(t.Context(), "SELECT 1", []any{}, nil) }, database.IsUnknown},
		"rows": {func() error {
			for rows.Next() {
			}
			return rows.Err()
		}, func(err error) bool { return err != nil }},
	} {
		running.Go(func() {
			if err := test.run(); !test.means(err) || time.Since(frozen) > 20*time.Second {
				t.Errorf("%s: after %s: %v", name, time.Since(frozen), err)
			}
		})
	}
	for parameter, limit := range map[string]time.Duration{"": 8 * time.Second, "&connect_timeout=1": 4 * time.Second} {
		running.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 2*limit)
			defer cancel()
			if _, err := database.Open(ctx, through+parameter); !database.IsBusy(err) || time.Since(frozen) > limit {
				t.Errorf("Open with %q: after %s: %v", parameter, time.Since(frozen), err)
			}
		})
	}
	for _, healthy := range []dialect.Driver{direct, alone} {
		running.Go(func() {
			if err := healthy.Exec(t.Context(), "SELECT pg_sleep(16)", []any{}, nil); err != nil {
				t.Errorf("a long statement: %v", err)
			}
		})
	}
	running.Wait()
	thaw()
	for name, tx := range map[string]dialect.Tx{"begun": begun, "fresh": fresh, "reading": reading} {
		if err := tx.Commit(); err == nil || database.IsUnknown(err) {
			t.Errorf("COMMIT, %s: %v", name, err)
		}
	}
	eventually(t, 10*time.Second, "the server answers again", func() bool {
		return driver.Exec(t.Context(), "INSERT INTO note VALUES ('last')", []any{}, nil) == nil
	})
	unheard := begin(t, driver, false)
	exec(t, unheard, "INSERT INTO note VALUES ('unheard')")
	p.Swallow()        // the answers to those who are connected
	lost := time.Now() // the server ends the transaction after 20 s
	if err := unheard.Exec(t.Context(), "SELECT 1", []any{}, nil); !database.IsBusy(err) || time.Since(lost) > 17*time.Second {
		t.Errorf("after %s without an answer: %v", time.Since(lost), err)
	}
	if err := unheard.Rollback(); err != nil {
		t.Error(err)
	}
	if book := text(t, direct, "SELECT string_agg(value, ' ') FROM note"); book != "last" {
		t.Errorf("recorded: %s", book)
	}
}

// testTLS has the server, by way of a proxy, speak TLS. A connection that the server has closed is replaced there, too.
func testTLS(t *testing.T, server *databasetest.Server) {
	direct, url := openOn(t, server, "")
	p, through := databasetest.Through(t, "127.0.0.1:0", url, nil)
	web := httptest.NewTLSServer(nil) // for its certificate
	web.Close()
	p.TLS.Store(web.TLS)
	driver := reopen(t, strings.Replace(through, "sslmode=disable", "sslmode=require", 1))
	for range 2 {
		exec(t, driver, "INSERT INTO note VALUES (gen_random_uuid())")
		exec(t, direct, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()")
	}
	if n := number(t, direct, "SELECT count(*) FROM note"); n != 2 {
		t.Errorf("there are %d rows", n)
	}
}
