package database_test

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"daybook/database"
	"daybook/database/databasetest"
)

// testLostBegin has the answer to a BEGIN that is sent alone not arrive.
func testLostBegin(t *testing.T, server *databasetest.Server) {
	_, url := openOn(t, server, "")
	var lose atomic.Bool
	_, url = databasetest.Through(t, "unix", url, func(answer []byte) bool { return lose.Load() && bytes.Contains(answer, []byte("BEGIN")) })
	driver := reopen(t, url+"&pool_max_conns=1&default_query_exec_mode=exec")
	tx := begin(t, driver, false)
	lose.Store(true)
	statement := tx.Exec(t.Context(), "SELECT 1", []any{}, nil)
	lose.Store(false)
	if commit := tx.Commit(); !database.IsBusy(statement) || !database.IsBusy(commit) {
		t.Errorf("the statement: %v, the commit: %v", statement, commit)
	}
	number(t, driver, "SELECT 1")
}

// testLostAnswer has the server commit, and its answer not arrive.
func testLostAnswer(t *testing.T, server *databasetest.Server) {
	direct, url := openOn(t, server, "")
	for _, network := range []string{"unix", "127.0.0.1:0"} {
		var lose atomic.Bool
		var lost atomic.Int32
		_, url := databasetest.Through(t, network, url, func(answer []byte) bool {
			loses := lose.Load() && (bytes.Contains(answer, []byte("COMMIT")) || bytes.Contains(answer, []byte("INSERT 0 1")))
			if loses {
				lost.Add(1)
			}
			return loses
		})
		driver := reopen(t, url)
		for _, readOnly := range []bool{false, true} {
			tx := begin(t, driver, readOnly)
			if number(t, tx, "SELECT count(*) FROM note"); !readOnly {
				exec(t, tx, "INSERT INTO note VALUES ($1)", network)
			}
			lose.Store(true)
			err := tx.Commit() // what only reads has nothing to keep
			lose.Store(false)
			if database.IsUnknown(err) == readOnly || database.IsBusy(err) != readOnly || database.IsRepeatable(err) {
				t.Errorf("%s: the commit, read only %t: %q", network, readOnly, err)
			}
		}
		lose.Store(true)
		for _, err := range []error{
			driver.Exec(t.Context(), "INSERT INTO note VALUES ('"+network+" outside')", []any{}, nil),
			driver.Exec(t.Context(), "INSERT INTO note VALUES ($1)", []any{network + " outside with arguments"}, nil),
			driver.Query(t.Context(), "INSERT INTO note VALUES ($1) RETURNING 1", []any{network + " outside by a query"}, &entsql.Rows{}),
		} {
			if !database.IsUnknown(err) || database.IsBusy(err) {
				t.Errorf("%s: a statement outside: %v", network, err)
			}
		}
		if err := driver.Query(t.Context(), "SELECT 'COMMIT'", []any{}, &entsql.Rows{}); !database.IsBusy(err) || database.IsUnknown(err) {
			t.Errorf("%s: a query outside that only reads: %v", network, err)
		}
		lose.Store(false)
		if n := lost.Load(); n != 6 {
			t.Errorf("%s: %d answers were lost", network, n)
		}
		tx := begin(t, driver, false)
		exec(t, tx, "INSERT INTO note VALUES ($1)", network+" again")
		commit(t, tx)
	}
	if n := number(t, direct, "SELECT count(*) FROM note"); n != 10 {
		t.Errorf("%d rows, want 10", n)
	}
}

// testLostBeforeCommit cuts a connection, or has the server end it, when nothing is under way. COMMIT then says that nothing is kept,
// once the kernel has told this side; before that, that it does not know.
func testLostBeforeCommit(t *testing.T, server *databasetest.Server) {
	direct, url := openOn(t, server, "")
	for _, network := range []string{"unix", "127.0.0.1:0"} {
		p, url := databasetest.Through(t, network, url, nil)
		driver := reopen(t, url+"&pool_max_conns=1")
		for name, end := range map[string]func(pid int){
			"cut":   func(int) { p.Cut() },
			"ended": func(pid int) { exec(t, direct, "SELECT pg_terminate_backend($1)", pid) },
		} {
			eventually(t, 10*time.Second, network+", "+name+": COMMIT knows that nothing is kept", func() bool {
				err := loseBefore(t, direct, driver, end).Commit()
				if !database.IsBusy(err) && !database.IsUnknown(err) {
					t.Fatalf("%s, %s: the commit: %v", network, name, err)
				}
				return database.IsBusy(err)
			})
			if err := loseBefore(t, direct, driver, end).Rollback(); err != nil {
				t.Errorf("%s, %s: the rollback: %v", network, name, err)
			}
			tx := loseBefore(t, direct, driver, end)
			statement := tx.Exec(t.Context(), "INSERT INTO note VALUES ('b')", []any{}, nil)
			for what, err := range map[string]error{"a statement": statement, "the commit after it": tx.Commit()} {
				if !database.IsBusy(err) || database.IsUnknown(err) {
					t.Errorf("%s, %s, %s: %v", network, name, what, err)
				}
			}
		}
		number(t, driver, "SELECT 1")
		p.Cut()
		if network == "unix" { // on TCP, the kernel may tell this side later
			exec(t, driver, "DELETE FROM note") // on another connection
		}
	}
	if n := number(t, direct, "SELECT count(*) FROM note"); n != 0 {
		t.Errorf("%d rows, want none", n)
	}
}

// loseBefore returns a transaction whose connection the server does not have any more.
func loseBefore(t *testing.T, direct, driver dialect.Driver, end func(pid int)) dialect.Tx {
	t.Helper()
	tx := begin(t, driver, false)
	exec(t, tx, "INSERT INTO note VALUES ('a')")
	pid := number(t, tx, "SELECT pg_backend_pid()")
	end(pid)
	eventually(t, time.Second, "the server has ended the transaction", func() bool {
		return number(t, direct, fmt.Sprint("SELECT count(*) FROM pg_stat_activity WHERE pid = ", pid)) == 0
	})
	return tx
}
