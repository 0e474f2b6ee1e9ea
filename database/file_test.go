package database

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"daybook/database/databasetest"
)

// TestFileThatIsReplaced has the file, its log or the log's index taken away while it is open, and two transactions that share a
// commit. Neither is acknowledged, and nothing is written until the database is opened again.
func TestFileThatIsReplaced(t *testing.T) {
	replace := func(path string) error {
		return errors.Join(os.Remove(path), os.WriteFile(path, []byte("another"), 0o600))
	}
	for name, take := range map[string]func(path string) error{
		"deleted":       os.Remove,
		"renamed":       func(path string) error { return os.Rename(path, path+".old") },
		"replaced":      replace,
		"log deleted":   func(path string) error { return os.Remove(path + "-wal") },
		"log replaced":  func(path string) error { return replace(path + "-wal") },
		"index deleted": func(path string) error { return os.Remove(path + "-shm") },
		"folder renamed": func(path string) error {
			return os.Rename(filepath.Dir(path), filepath.Dir(path)+".old")
		},
	} {
		t.Run(name, func(t *testing.T) {
			driver, w := openGroup(t)
			before := store(t, driver, "before")
			before.hasTurn()
			before.commit()
			if err := <-before.ended; err != nil {
				t.Fatal(err)
			}
			a := store(t, driver, "a")
			a.hasTurn()
			staysOpen(w)
			b := store(t, driver, "b")
			inQueue(t, w, 1)
			a.commit()
			b.hasTurn()
			if err := take(w.file.path); err != nil {
				t.Fatal(err)
			}
			b.commit()
			for _, client := range []*client{a, b} {
				if err := <-client.ended; !errors.Is(err, ErrFileReplaced) || IsRepeatable(err) || IsBusy(err) {
					t.Errorf("the commit: %v", err)
				}
			}
			c := store(t, driver, "c")
			if err := <-c.stored; !errors.Is(err, ErrFileReplaced) {
				t.Errorf("the next transaction: %v", err)
			}
			if err := c.tx.Rollback(); err != nil {
				t.Error(err)
			}
			if _, err := driver.ExecContext(t.Context(), "DELETE FROM note"); !errors.Is(err, ErrFileReplaced) {
				t.Errorf("a statement outside of transactions: %v", err)
			}
			if stored := notes(t, driver); stored != "before" { // or it would be there if the file came back
				t.Errorf("the file that is open has %q", stored)
			}
		})
	}
}

// TestFileThatIsDeletedDuringCommit has a COMMIT that takes long, and deletes the file when the log has begun to grow. Nobody knows
// then whether the COMMIT is in a file that has a name.
func TestFileThatIsDeletedDuringCommit(t *testing.T) {
	for range 10 {
		switch err := deleteDuringCommit(t); {
		case IsUnknown(err) && errors.Is(err, ErrFileReplaced):
			return
		case err != nil:
			t.Fatalf("the commit: %v", err)
		}
	}
	t.Error("no commit has failed") // one may have ended too early
}

func deleteDuringCommit(t *testing.T) error {
	driver, w := openGroup(t)
	if _, err := driver.ExecContext(t.Context(), "PRAGMA cache_size = -100000"); err != nil { // nothing is written before COMMIT
		t.Fatal(err)
	}
	large := store(t, driver, "large")
	large.hasTurn()
	if err := large.tx.Exec(t.Context(), "CREATE TABLE large AS SELECT zeroblob(20000000)", []any{}, nil); err != nil {
		t.Fatal(err)
	}
	before := logSize(t, w)
	large.commit()
	wait(t, "the log grows", func() bool { return logSize(t, w) > before })
	if err := os.Remove(w.file.path); err != nil {
		t.Fatal(err)
	}
	return <-large.ended
}

// TestStatementOutsideAfterTheFileIsReplaced is the first to notice it.
func TestStatementOutsideAfterTheFileIsReplaced(t *testing.T) {
	driver, w := openGroup(t)
	if err := os.Remove(w.file.path); err != nil {
		t.Fatal(err)
	}
	if _, err := driver.ExecContext(t.Context(), "INSERT INTO note VALUES ('a')"); !errors.Is(err, ErrFileReplaced) {
		t.Errorf("the statement: %v", err)
	}
}

// TestFileByASymbolicLink has its log beside the file that the link leads to.
func TestFileByASymbolicLink(t *testing.T) {
	databasetest.SQLiteOnly(t)
	folder := t.TempDir()
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(filepath.Join(folder, "real.db"), link); err != nil {
		t.Skip(err)
	}
	opened, err := Open(t.Context(), link)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	driver := opened.(*sqliteDriver)
	if _, err := driver.ExecContext(t.Context(), "CREATE TABLE note (value TEXT UNIQUE)"); err != nil {
		t.Fatal(err)
	}
	if size := logSize(t, driver.writer); size == 0 {
		t.Error("the log is another file")
	}
	if err := os.Remove(filepath.Join(folder, "real.db-wal")); err != nil {
		t.Fatal(err)
	}
	if _, err := driver.ExecContext(t.Context(), "INSERT INTO note VALUES ('a')"); !errors.Is(err, ErrFileReplaced) {
		t.Errorf("the statement: %v", err)
	}
}
