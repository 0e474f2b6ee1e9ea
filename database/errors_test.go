package database_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"entgo.io/ent/dialect"

	"daybook/database"
	"daybook/database/databasetest"
)

// TestErrorsByMeaning causes each kind of error, and sees that it means that and nothing else.
func TestErrorsByMeaning(t *testing.T) {
	meanings := map[string]func(error) bool{
		"busy":       database.IsBusy,
		"full":       database.IsFull,
		"read-only":  database.IsReadOnly,
		"corrupt":    database.IsCorrupt,
		"constraint": database.IsConstraint,
		"repeatable": database.IsRepeatable,
		"unknown":    database.IsUnknown,
	}
	for meaning, cause := range map[string]func(*testing.T) error{
		"busy": func(t *testing.T) error {
			driver, url := open(t)
			if databasetest.Postgres() {
				driver = reopen(t, url+"&lock_timeout=1")
			} else {
				exec(t, driver, "PRAGMA busy_timeout = 1")
			}
			other := begin(t, reopen(t, url), false)
			exec(t, other, insert, "a")
			defer commit(t, other)
			return driver.Exec(t.Context(), insert, []any{"a"}, nil)
		},
		"full": func(t *testing.T) error {
			driver, _ := open(t)
			if databasetest.Postgres() {
				return raise(t, driver, "53100")
			}
			exec(t, driver, "PRAGMA max_page_count = 4")
			return driver.Exec(t.Context(), insert, []any{bytes.Repeat([]byte("a"), 10_000)}, nil)
		},
		"read-only": func(t *testing.T) error {
			driver, _ := open(t)
			tx := begin(t, driver, true)
			return errors.Join(tx.Exec(t.Context(), insert, []any{"a"}, nil), tx.Rollback())
		},
		"corrupt": func(t *testing.T) error {
			if databasetest.Postgres() {
				driver, _ := open(t)
				return raise(t, driver, "XX001")
			}
			driver := damaged(t)
			return driver.Exec(t.Context(), insert, []any{"a"}, nil)
		},
		"constraint": func(t *testing.T) error {
			driver, _ := open(t)
			exec(t, driver, insert, "a")
			return driver.Exec(t.Context(), insert, []any{"a"}, nil)
		},
	} {
		t.Run(meaning, func(t *testing.T) {
			err := cause(t)
			for name, is := range meanings {
				if is(err) != (name == meaning) {
					t.Errorf("%s: %t, of %v", name, is(err), err)
				}
			}
		})
	}
}

// raise has PostgreSQL fail with the code.
func raise(t *testing.T, on dialect.ExecQuerier, code string) error {
	return on.Exec(t.Context(), "DO $$ BEGIN RAISE 'for the test' USING ERRCODE = '"+code+"'; END $$", []any{}, nil)
}

// damaged opens a database of which all but the first page, the one that is read to open it, is overwritten.
func damaged(t *testing.T) dialect.Driver {
	driver, path := open(t)
	if err := driver.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	copy(content[page:], bytes.Repeat([]byte("?"), len(content)-page))
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return reopen(t, path)
}
