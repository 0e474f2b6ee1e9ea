package database

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"daybook/database/databasetest"
)

// beginner is a driver of either database.
type beginner interface {
	dialect.Driver
	BeginTx(context.Context, *sql.TxOptions) (dialect.Tx, error)
}

// openNotes opens a new database with a table note(value).
func openNotes(t *testing.T) beginner {
	t.Helper()
	driver, err := Open(t.Context(), databasetest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := driver.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if err := driver.Exec(t.Context(), "CREATE TABLE note (value TEXT UNIQUE)", []any{}, nil); err != nil {
		t.Fatal(err)
	}
	return driver.(beginner)
}

// TestClosedRowsAreForgotten reads many times in one transaction, which keeps only what is still being read.
func TestClosedRowsAreForgotten(t *testing.T) {
	databasetest.SQLiteOnly(t)
	driver := openNotes(t)
	begun, err := driver.Tx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tx := begun.(*tx)
	for i := range 100 {
		rows, err := tx.QueryContext(t.Context(), "SELECT 1")
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			continue // forgotten by the application
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(tx.rows); n != 2 {
		t.Errorf("it keeps %d rows", n)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// TestFailedStatement lets a transaction go on only from a savepoint, as PostgreSQL does. Its owner may have taken no notice: an
// ent builder of several statements leaves the first ones behind.
func TestFailedStatement(t *testing.T) {
	const conflict, returning = "INSERT INTO note VALUES ('a')", "INSERT INTO note VALUES ('a') RETURNING value"
	query := func(tx dialect.Tx) { // ent creates by a query
		var rows entsql.Rows
		if err := tx.Query(t.Context(), returning, []any{}, &rows); err == nil {
			t.Error("the conflict was not noticed before rows are read")
		}
	}
	exec := func(statements ...string) func(dialect.Tx) {
		return func(tx dialect.Tx) {
			for _, statement := range statements {
				_ = tx.Exec(t.Context(), statement, []any{}, nil)
			}
		}
	}
	for _, test := range []struct {
		name  string
		run   func(dialect.Tx)
		again bool // it goes on
	}{
		{"no failure", exec("SELECT 1"), true},
		{"a conflict", exec(conflict), false},
		{"a conflict of a query", query, false},
		{"a mistake", exec("SELEKT 1"), false},
		{"a savepoint that is kept", exec("SAVEPOINT s", conflict, "RELEASE s"), false},
		{"a savepoint that is undone", exec("SAVEPOINT s", conflict, "ROLLBACK TO s"), true},
		{"a savepoint that is undone and ended", exec("SAVEPOINT s", conflict, "ROLLBACK TO s", "RELEASE s"), true},
		{"the outer of two savepoints", exec("SAVEPOINT s", "SAVEPOINT r", conflict, "RELEASE r", "ROLLBACK TO s"), true},
		{"a savepoint that came later", exec(conflict, "SAVEPOINT s", "ROLLBACK TO s"), false},
		{"a savepoint that ended before", exec("SAVEPOINT s", "RELEASE s", conflict, "ROLLBACK TO s"), false},
		{"a query in a savepoint that is undone", func(tx dialect.Tx) { exec("SAVEPOINT s")(tx); query(tx); exec("ROLLBACK TO s")(tx) }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			driver := openNotes(t)
			a := store(t, driver, "a")
			a.hasTurn()
			test.run(a.tx)
			err := a.tx.Exec(t.Context(), "INSERT INTO note VALUES ('b')", []any{}, nil)
			if (err == nil) != test.again || err != nil && !strings.Contains(err.Error(), "use transaction.Savepoint") {
				t.Errorf("the next statement: %v", err)
			}
			if !test.again && test.name != "a mistake" && !IsConstraint(err) {
				t.Errorf("the next statement does not name the first failure: %v", err)
			}
			if err := a.tx.Commit(); (err == nil) != test.again {
				t.Errorf("the commit: %v", err)
			}
			want := ""
			if test.again {
				want = "a b"
			}
			if got := notes(t, driver); got != want {
				t.Errorf("stored: %q, want %q", got, want)
			}
		})
	}
}

// TestFailedStatementIsTheLast has no next statement notice the failure.
func TestFailedStatementIsTheLast(t *testing.T) {
	driver := openNotes(t)
	a := store(t, driver, "a")
	a.hasTurn()
	if err := a.tx.Exec(t.Context(), "INSERT INTO note VALUES ('a')", []any{}, nil); !IsConstraint(err) {
		t.Errorf("the statement: %v", err)
	}
	if err := a.tx.Commit(); !IsConstraint(err) {
		t.Errorf("the commit: %v", err)
	}
	if got := notes(t, driver); got != "" {
		t.Errorf("stored: %q", got)
	}
}

// TestTransactionOfSeveralGoroutines reads side by side in one transaction, as a handler may that waits for all of it.
func TestTransactionOfSeveralGoroutines(t *testing.T) {
	databasetest.SQLiteOnly(t)
	driver := openNotes(t)
	tx, err := driver.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	for range 4 {
		reading.Go(func() {
			for range 100 {
				var rows entsql.Rows
				if err := tx.Query(t.Context(), "SELECT 1 UNION SELECT 2", []any{}, &rows); err != nil {
					t.Error(err)
					return
				}
				for rows.Next() {
				}
				if err := errors.Join(rows.Err(), rows.Close()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	reading.Wait()
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
}

// TestOnlyIdleTransactionsExpire has the watch come while a statement runs, and after the end.
func TestOnlyIdleTransactionsExpire(t *testing.T) {
	driver, _, a, b, c := three(t)
	held := a.tx.(*tx)
	held.mu.Lock() // as a statement does
	held.expire()
	held.mu.Unlock()
	a.commit()
	b.hasTurn()
	b.commit()
	c.hasTurn()
	c.commit()
	for _, client := range []*client{a, b, c} {
		if err := <-client.ended; err != nil {
			t.Error(err)
		}
	}
	held.expire()
	if err := held.Commit(); !errors.Is(err, sql.ErrTxDone) {
		t.Errorf("the commit of one that has ended: %v", err)
	}
	write(t, driver, 1)
}

// TestReaderThatEndsItsSnapshot may have read two states of the database.
func TestReaderThatEndsItsSnapshot(t *testing.T) {
	databasetest.SQLiteOnly(t)
	driver := openNotes(t)
	tx, err := driver.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{"SELECT count(*) FROM note", "COMMIT"} {
		if err := tx.Exec(t.Context(), statement, []any{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); !errors.Is(err, ErrRolledBack) {
		t.Errorf("the commit: %v", err)
	}
}
