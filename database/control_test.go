package database

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"daybook/database/databasetest"
)

// refusesBefore reports whether the engine refuses a statement before it has done any harm. The other one turns a COMMIT into a
// ROLLBACK of the whole group.
var refusesBefore = strings.HasPrefix(fmt.Sprintf("%T", engine), "*sqlite3.")

// TestStatementThatControlsTheTransaction has the second of three transactions that share a commit try to end it, in every
// spelling and by every way a statement is run.
func TestStatementThatControlsTheTransaction(t *testing.T) {
	databasetest.SQLiteOnly(t)
	ways := map[string]func(tx dialect.Tx, statement string) error{
		"Exec": func(tx dialect.Tx, statement string) error {
			return tx.Exec(t.Context(), statement, []any{}, nil)
		},
		"Query": func(tx dialect.Tx, statement string) error {
			var rows entsql.Rows
			if err := tx.Query(t.Context(), statement, []any{}, &rows); err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
			}
			return rows.Err()
		},
	}
	const rollbackTo = "ROLLBACK TO " + savepoint
	for _, statement := range []string{
		"COMMIT", " commit ;", "END TRANSACTION", "ROLLBACK", "rollback transaction", "BEGIN",
		"SELECT 1; COMMIT", "COMMIT\nTRANSACTION", "/* */ COMMIT", "-- \nCOMMIT", "ROLLBACK; BEGIN", "COMMIT; BEGIN IMMEDIATE",
		"RELEASE " + savepoint, "RELEASE SAVEPOINT Daybook_Member", "SAVEPOINT " + savepoint, rollbackTo,
	} {
		if statement == rollbackTo && !refusesBefore {
			continue // it undoes what is its own
		}
		for way, run := range ways {
			t.Run(way+" "+statement, func(t *testing.T) { testControl(t, func(tx dialect.Tx) error { return run(tx, statement) }) })
		}
	}
}

func testControl(t *testing.T, control func(dialect.Tx) error) {
	driver, _, a, b, c := three(t)
	a.commit()
	b.hasTurn()
	if err := control(b.tx); refusesBefore && !errors.Is(err, errControl) || IsConstraint(err) {
		t.Errorf("the statement: %v", err)
	}
	if got := notes(t, driver); got != "" {
		t.Errorf("stored already: %q", got)
	}
	b.commit()
	c.hasTurn()
	c.commit()
	want := ""
	for name, client := range map[string]*client{"a": a, "c": c} {
		switch err := <-client.ended; {
		case err == nil:
			want = strings.TrimSpace(want + " " + name)
		case refusesBefore || !IsRepeatable(err):
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := <-b.ended; err == nil {
		want = strings.TrimSpace(want + " b")
		if refusesBefore {
			t.Error("b was committed, although a statement of it failed")
		}
	}
	got := strings.Fields(notes(t, driver))
	if len(got) != len(strings.Fields(want)) {
		t.Errorf("stored: %q, acknowledged: %q", got, want)
	}
	for _, value := range got {
		if !strings.Contains(want, value) {
			t.Errorf("stored: %q, acknowledged: %q", got, want)
		}
	}
}

// TestControlThatTheDriverHasPrepared has a statement that is not refused before it runs: the driver keeps it from outside of a
// transaction. What comes after it would be committed by itself.
func TestControlThatTheDriverHasPrepared(t *testing.T) {
	for _, statement := range []string{"COMMIT", "ROLLBACK"} {
		t.Run(statement, func(t *testing.T) {
			driver, _ := openGroup(t)
			if _, err := driver.ExecContext(t.Context(), statement); err == nil {
				t.Error("there was no transaction")
			}
			a := store(t, driver, "a")
			a.hasTurn()
			err := a.tx.Query(t.Context(), statement, []any{}, &entsql.Rows{})
			if err == nil && statement == "COMMIT" {
				t.Error("it was not refused")
			}
			if err := a.tx.Exec(t.Context(), "INSERT INTO note VALUES ('after')", []any{}, nil); err == nil {
				t.Error("the next statement was not refused")
			}
			if err := a.tx.Commit(); err == nil {
				t.Error("the transaction was committed")
			}
			if got := notes(t, driver); got != "" {
				t.Errorf("stored: %q", got)
			}
		})
	}
}

// TestSavepointsOfTheApplication stay its own: the second member of a group cannot reach those that the first has left open.
func TestSavepointsOfTheApplication(t *testing.T) {
	driver, _, a, b, c := three(t)
	if err := a.tx.Exec(t.Context(), "SAVEPOINT own", []any{}, nil); err != nil {
		t.Fatal(err)
	}
	a.commit()
	b.hasTurn()
	for _, statement := range []string{"ROLLBACK TO own", "RELEASE own"} {
		if err := b.tx.Exec(t.Context(), statement, []any{}, nil); err == nil {
			t.Errorf("%s reached another transaction's savepoint", statement)
		}
	}
	b.rollback()
	c.hasTurn()
	c.commit()
	for _, client := range []*client{a, b, c} {
		if err := <-client.ended; err != nil {
			t.Error(err)
		}
	}
	if got := notes(t, driver); got != "a c" {
		t.Errorf("stored: %q", got)
	}
}

func TestUndoesSavepoint(t *testing.T) {
	for query, want := range map[string]bool{
		"ROLLBACK TO a":                             true,
		"rollback to savepoint a ; ":                true,
		"ROLLBACK\tTRANSACTION TO\nSAVEPOINT a":     true,
		"ROLLBACK TO a; COMMIT":                     false,
		"ROLLBACK":                                  false,
		"ROLLBACK TO":                               false,
		"ROLLBACK TRANSACTION":                      false,
		"RELEASE a":                                 false,
		"INSERT INTO note VALUES ('ROLLBACK TO a')": false,
		"": false,
	} {
		if got := undoesSavepoint(query); got != want {
			t.Errorf("%q: %t, want %t", query, got, want)
		}
	}
}
