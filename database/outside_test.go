package database_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"daybook/database"
	"daybook/database/databasetest"
)

// TestQueryOutsideDoesNotWaitForTheWriter reads in every spelling while a transaction writes.
func TestQueryOutsideDoesNotWaitForTheWriter(t *testing.T) {
	driver, _ := open(t)
	exec(t, driver, insert, "a")
	writer := begin(t, driver, false)
	exec(t, writer, insert, "b")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // the wait for a turn lasts longer
	defer cancel()
	queries := []string{
		"SELECT count(*) FROM note",
		"\n\t select count(*) FROM note",
		"-- how many?\nSELECT count(*) FROM note",
		"/* how many? */ SELECT count(*) FROM note",
		"WITH n AS (SELECT value FROM note) SELECT count(*) FROM n",
		"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT count(*) - 2 FROM n",
		"VALUES (1)",
	}
	if !databasetest.Postgres() {
		queries = append(queries, "PRAGMA foreign_keys", "SELECT count(*) FROM pragma_table_info('note')")
	}
	for _, query := range queries {
		var rows entsql.Rows
		if err := driver.Query(ctx, query, []any{}, &rows); err != nil {
			t.Errorf("%q: %v", query, err)
			continue
		}
		if n, err := entsql.ScanInt(rows); err != nil || n != 1 {
			t.Errorf("%q: %d, %v", query, n, err)
		}
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
	}
	commit(t, writer)
}

// TestCancelledQueriesHoldNoConnection makes more of them than there are connections.
func TestCancelledQueriesHoldNoConnection(t *testing.T) {
	driver, _ := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 4*runtime.NumCPU() + 32 {
		if err := driver.Query(ctx, "SELECT count(*) FROM note", []any{}, &entsql.Rows{}); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	number(t, driver, "SELECT count(*) FROM note")
}

// TestQueryOutsideCannotBegin has BEGIN on each connection, which would keep it at the same state of the database.
func TestQueryOutsideCannotBegin(t *testing.T) {
	databasetest.SQLiteOnly(t)
	driver, _ := open(t)
	for range 4*runtime.NumCPU() + 32 {
		var rows entsql.Rows
		if err := driver.Query(t.Context(), "BEGIN", []any{}, &rows); err != nil {
			t.Fatal(err)
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
		if n := number(t, driver, "SELECT count(*) FROM note"); n != 0 {
			t.Errorf("%d rows, want 0", n)
		}
	}
	exec(t, driver, insert, "a")
	for range 4*runtime.NumCPU() + 32 {
		if n := number(t, driver, "SELECT count(*) FROM note"); n != 1 {
			t.Fatalf("%d rows, want 1", n)
		}
		tx := begin(t, driver, true)
		number(t, tx, "SELECT count(*) FROM note")
		commit(t, tx)
	}
}

// TestQueryOutsideThatWrites takes its turn among the writers, holds it until its rows are closed, and gives it back.
func TestQueryOutsideThatWrites(t *testing.T) {
	driver, _ := open(t)
	for _, query := range []string{
		"INSERT INTO note (value) VALUES ('a') RETURNING 1",
		"WITH v AS (SELECT 'b' AS value) INSERT INTO note SELECT value FROM v RETURNING 1",
		"DELETE FROM note WHERE value = 'b' RETURNING 1",
		"-- again\nUPDATE note SET value = 'c' RETURNING 1",
	} {
		if n := number(t, driver, query); n != 1 {
			t.Errorf("%q: %d", query, n)
		}
	}
	if n := number(t, driver, "SELECT count(*) FROM note WHERE value = 'c'"); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
	var rows entsql.Rows
	if err := driver.Query(t.Context(), "INSERT INTO note (value) VALUES ('c') RETURNING 1", []any{}, &rows); !database.IsConstraint(err) {
		t.Errorf("a conflict: %v", err)
	}
	if err := driver.Query(t.Context(), "SELEKT 1", []any{}, &rows); err == nil {
		t.Error("a mistake was not noticed")
	}
	tx := begin(t, driver, false)
	exec(t, tx, insert, "d")
	commit(t, tx)
}

// TestReadersThatStay have all connections, and do nothing with them. As many are ended as others wait for.
func TestReadersThatStay(t *testing.T) {
	databasetest.SQLiteOnly(t)
	synctest.Test(t, func(t *testing.T) {
		driver, _ := open(t)
		var stay []dialect.Tx
		for range max(16, 2*runtime.NumCPU()) {
			tx := begin(t, driver, true)
			number(t, tx, "SELECT count(*) FROM note")
			stay = append(stay, tx)
		}
		begun := time.Now()
		for {
			var rows entsql.Rows
			err := driver.Query(t.Context(), "SELECT count(*) FROM note", []any{}, &rows)
			if err == nil {
				if err := rows.Close(); err != nil {
					t.Error(err)
				}
				break
			}
			if !database.IsBusy(err) || time.Since(begun) > 15*time.Second {
				t.Fatalf("after %s: %v", time.Since(begun), err)
			}
		}
		ended := 0
		for _, tx := range stay {
			switch err := tx.Commit(); {
			case errors.Is(err, database.ErrHeldTooLong):
				ended++
			case err != nil:
				t.Errorf("one that stayed: %v", err)
			}
		}
		if ended == 0 {
			t.Error("none was ended")
		}
	})
}
