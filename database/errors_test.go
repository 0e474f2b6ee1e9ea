package database_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
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
			driver, path := open(t)
			driver = reopen(t, damage(t, driver, path, page)) // the first page is read to open it
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
			if strings.Contains(err.Error(), "nil") {
				t.Errorf("it says %v", err)
			}
		})
	}
}

// raise has PostgreSQL fail with the code.
func raise(t *testing.T, on dialect.ExecQuerier, code string) error {
	return on.Exec(t.Context(), "DO $$ BEGIN RAISE 'for the test' USING ERRCODE = '"+code+"'; END $$", []any{}, nil)
}

// page is the size of a page of a SQLite file.
const page = 4096

// damage closes the database, overwrites its file from a place on, and returns its path.
func damage(t *testing.T, driver dialect.Driver, path string, from int) string {
	t.Helper()
	if err := driver.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(content[from:], bytes.Repeat([]byte("?"), len(content)-from))
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDamageIsReported damages more and more of a file: its tables, the list of them, and the header.
func TestDamageIsReported(t *testing.T) {
	databasetest.SQLiteOnly(t)
	path, files := databasetest.New(t), migrations(t, createFirst)
	driver := reopen(t, path)
	if err := database.Migrate(t.Context(), driver, files, quiet); err != nil {
		t.Fatal(err)
	}
	driver = reopen(t, damage(t, driver, path, page))
	if err := database.Check(t.Context(), driver, files); !database.IsCorrupt(err) {
		t.Errorf("Check says %v", err)
	}
	for _, test := range []struct {
		from int
		want string
	}{{100, path + " is damaged: restore a backup"}, {0, path + " is not a SQLite database"}} {
		_, err := database.Open(t.Context(), damage(t, driver, path, test.from))
		if !database.IsCorrupt(err) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Open says %v, want %s", err, test.want)
		}
	}
}
