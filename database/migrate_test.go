package database_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"ariga.io/atlas/sql/migrate"
	"entgo.io/ent/dialect"

	"daybook/database"
	"daybook/database/databasetest"
)

const (
	createFirst  = "CREATE TABLE first (id integer PRIMARY KEY)"
	createSecond = "CREATE TABLE second (id integer PRIMARY KEY); INSERT INTO second (id) VALUES (1)"
)

// migrations returns files with the texts, numbered from 1, for both databases, and their sums.
func migrations(t *testing.T, texts ...string) fstest.MapFS {
	t.Helper()
	var files []migrate.File
	for i, text := range texts {
		files = append(files, migrate.NewLocalFile(fmt.Sprintf("%04d_step.sql", i+1), []byte(text+";\n")))
	}
	return withSums(t, files...)
}

func withSums(t *testing.T, files ...migrate.File) fstest.MapFS {
	t.Helper()
	both := fstest.MapFS{}
	for _, folder := range []string{dialect.SQLite, dialect.Postgres} {
		dir := &migrate.MemDir{}
		dir.SyncWrites(func(name string, text []byte) error {
			both[folder+"/"+name] = &fstest.MapFile{Data: text}
			return nil
		})
		if err := dir.CopyFiles(files); err != nil {
			t.Fatal(err)
		}
	}
	return both
}

// mustMigrate migrates, and returns the state after it.
// quiet drops what is logged.
var quiet = slog.New(slog.DiscardHandler)

func mustMigrate(t *testing.T, driver dialect.Driver, files fstest.MapFS) (state string) {
	t.Helper()
	if err := database.Migrate(t.Context(), driver, files, quiet); err != nil {
		t.Fatal(err)
	}
	return stateOf(t, driver)
}

// stateOf returns what is another after any change of the tables, or of SQLite's header.
func stateOf(t *testing.T, driver dialect.Driver) string {
	t.Helper()
	if driver.Dialect() == dialect.Postgres {
		return fmt.Sprint(number(t, driver, "SELECT count(*) FROM pg_class"), number(t, driver, "SELECT sum(oid::bigint) FROM pg_class"))
	}
	return fmt.Sprint(number(t, driver, "PRAGMA schema_version"), number(t, driver, "PRAGMA user_version"))
}

// refuses migrates, and wants an error with the sentence and no change.
func refuses(t *testing.T, driver dialect.Driver, files fstest.MapFS, sentence string) {
	t.Helper()
	before := stateOf(t, driver)
	err := database.Migrate(t.Context(), driver, files, quiet)
	if err == nil || !strings.Contains(err.Error(), sentence) || strings.Contains(err.Error(), "let the owner") {
		t.Errorf("got %v, want %q", err, sentence)
	}
	if after := stateOf(t, driver); after != before {
		t.Errorf("the database was changed: %s, it was %s", after, before)
	}
}

func TestMigrateAppliesWhatIsMissing(t *testing.T) {
	url := databasetest.New(t)
	driver := reopen(t, url)
	first := mustMigrate(t, driver, migrations(t, createFirst))
	if again := mustMigrate(t, driver, migrations(t, createFirst)); again != first {
		t.Errorf("the second start changed %s to %s", first, again)
	}
	exec(t, driver, "CREATE TABLE note (value TEXT)")
	exec(t, driver, "INSERT INTO note (value) VALUES ('kept')")
	exec(t, driver, "INSERT INTO first (id) VALUES (7)")
	mustMigrate(t, reopen(t, url), migrations(t, createFirst, createSecond))
	if n := number(t, driver, "SELECT count(*) FROM first, second, note"); n != 1 {
		t.Errorf("%d rows, want those that were there and the new one", n)
	}
	if n := number(t, driver, "SELECT count(*) FROM applied_migrations WHERE hash <> '' AND applied_at IS NOT NULL"); n != 2 {
		t.Errorf("%d migrations are noted, want 2", n)
	}
	if driver.Dialect() == dialect.SQLite {
		tx := begin(t, driver, false)
		if on := number(t, tx, "PRAGMA foreign_keys"); on != 1 {
			t.Error("foreign keys are off after the migration")
		}
		commit(t, tx)
	}
}

// TestMigrateKeepsRowsThatReferToAChangedTable copies a table, drops it and renames the copy, as one changes a column on SQLite.
// Enforced meanwhile, the foreign key would take the rows that refer to it.
func TestMigrateKeepsRowsThatReferToAChangedTable(t *testing.T) {
	databasetest.SQLiteOnly(t)
	driver := reopen(t, databasetest.New(t))
	create := `CREATE TABLE parent (id integer PRIMARY KEY, name text);
		CREATE TABLE child (id integer PRIMARY KEY, parent_id integer NOT NULL REFERENCES parent (id) ON DELETE CASCADE)`
	mustMigrate(t, driver, migrations(t, create))
	exec(t, driver, "INSERT INTO parent (id, name) VALUES (1, '7')")
	exec(t, driver, "INSERT INTO child (parent_id) VALUES (1)")
	mustMigrate(t, driver, migrations(t, create, `CREATE TABLE new_parent (id integer PRIMARY KEY, name integer);
		INSERT INTO new_parent SELECT id, name FROM parent; DROP TABLE parent; ALTER TABLE new_parent RENAME TO parent`))
	if n := number(t, driver, "SELECT count(*) FROM child JOIN parent ON parent.id = parent_id WHERE typeof(name) = 'integer'"); n != 1 {
		t.Errorf("%d rows refer to the changed table, want 1", n)
	}
}

func TestMigrateRefusesANewerDatabase(t *testing.T) {
	driver := reopen(t, databasetest.New(t))
	mustMigrate(t, driver, migrations(t, createFirst, createSecond))
	source := map[string]string{dialect.SQLite: "a backup", dialect.Postgres: "a dump (pg_dump)"}[driver.Dialect()]
	refuses(t, driver, migrations(t, createFirst), "written by a newer version of this program (schema 2, this one knows 1): "+
		"start that version, or restore "+source+" from before the upgrade")
	if driver.Dialect() == dialect.SQLite {
		exec(t, driver, "DROP TABLE applied_migrations") // as in files from before there was one
		refuses(t, driver, migrations(t, createFirst), "written by a newer version of this program (schema 2, this one knows 1)")
	}
}

// TestMigrateRefusesOtherFiles has files that are not those that were applied, or not those of their sums.
func TestMigrateRefusesOtherFiles(t *testing.T) {
	driver := reopen(t, databasetest.New(t))
	folder := driver.Dialect() + "/"
	mustMigrate(t, driver, migrations(t, createFirst, createSecond))

	changed := migrations(t, createFirst+" ", createSecond, "CREATE TABLE third (id integer)")
	refuses(t, driver, changed, "0001_step.sql, or one before it, was changed after it was applied to this database")

	missing := migrations(t, createFirst, createSecond, "CREATE TABLE third (id integer)")
	exec(t, driver, "UPDATE applied_migrations SET version = '0000' WHERE version = '0001'")
	refuses(t, driver, missing, "the database has a migration 0000_step that this program does not have")

	empty := reopen(t, databasetest.New(t))
	edited := migrations(t, createFirst)
	edited[folder+"0001_step.sql"].Data = []byte("CREATE TABLE other (id integer);")
	refuses(t, empty, edited, "do not match their atlas.sum")
	unsummed := migrations(t, createFirst)
	delete(unsummed, folder+"atlas.sum")
	refuses(t, empty, unsummed, "do not match their atlas.sum")
	unnumbered := withSums(t, migrate.NewLocalFile("first.sql", []byte(createFirst)))
	refuses(t, empty, unnumbered, "first.sql: the name must begin with a number")
	refuses(t, empty, fstest.MapFS{}, driver.Dialect()+": file does not exist")
}

// TestMigrateRefusesAnotherDriver wraps the driver that Open returns.
func TestMigrateRefusesAnotherDriver(t *testing.T) {
	driver := reopen(t, databasetest.New(t))
	refuses(t, dialect.Debug(driver, func(...any) {}), migrations(t, createFirst), "*dialect.DebugDriver is not a driver of database.Open")
	mustMigrate(t, driver, migrations(t, createFirst))
}

// TestCheckWantsTheFilesOfThisVersion checks a database before it is migrated, and after this, an older and a newer version did it.
func TestCheckWantsTheFilesOfThisVersion(t *testing.T) {
	driver := reopen(t, databasetest.New(t))
	first, second := migrations(t, createFirst), migrations(t, createFirst, createSecond)
	const none, older = "<nil>", "the database was not written by this version: start its server once, which upgrades the database"
	says := func(ctx context.Context, files fstest.MapFS, want string) {
		t.Helper()
		if got := fmt.Sprint(database.Check(ctx, driver, files)); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	says(t.Context(), first, older)
	mustMigrate(t, driver, first)
	says(t.Context(), first, none)
	says(t.Context(), second, older)
	mustMigrate(t, driver, second)
	says(t.Context(), second, none)
	says(t.Context(), first, "the database was written by a newer version of this program (schema 2, this one knows 1)")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	says(cancelled, second, "check: context canceled")
	says(t.Context(), fstest.MapFS{}, "check: open "+driver.Dialect()+": file does not exist")
}

// TestFailedMigrationChangesNothing fails in its second file, after the first file and a part of the second.
func TestFailedMigrationChangesNothing(t *testing.T) {
	driver := reopen(t, databasetest.New(t))
	refuses(t, driver, migrations(t, createFirst, createSecond+"; INSERT INTO second (id) VALUES (1)"), `from version "0002"`)
	mustMigrate(t, driver, migrations(t, createFirst, createSecond))
	refuses(t, driver, migrations(t, createFirst, createSecond, "DELETE FROM second; INSERT INTO third (id) VALUES (1)"), "third")
	if n := number(t, driver, "SELECT count(*) FROM second"); n != 1 {
		t.Errorf("%d rows after the failure, want 1", n)
	}
	mustMigrate(t, driver, migrations(t, createFirst, createSecond, "DELETE FROM second"))
	if n := number(t, driver, "SELECT count(*) FROM second"); n != 0 {
		t.Errorf("%d rows after the next start, want 0", n)
	}
}

// TestMigrateRefusesAnotherProgramsFile has files that this package did not make. Those of an application that had another way to
// create its tables, and set user_version, are taken.
func TestMigrateRefusesAnotherProgramsFile(t *testing.T) {
	databasetest.SQLiteOnly(t)
	for name, test := range map[string]struct {
		statement string
		foreign   bool
		files     int // that were noted
	}{
		"tables of its own":               {"CREATE TABLE photo (id INTEGER PRIMARY KEY)", true, 0},
		"tables and a version of its own": {"CREATE TABLE photo (id INTEGER PRIMARY KEY); PRAGMA user_version = 1", true, 0},
		"a later version of its own":      {"CREATE TABLE photo (id INTEGER PRIMARY KEY); PRAGMA user_version = 9", true, 0},
		"our tables without a version":    {createFirst, true, 0},
		"a mark of its own":               {"PRAGMA application_id = 252006673", true, 0}, // Fossil's
		"nothing":                         {"PRAGMA user_version = 0", false, 2},
		"our tables, from before":         {createFirst + "; PRAGMA user_version = 1", false, 2},
		"our tables and some of its user": {createFirst + "; PRAGMA user_version = 1; CREATE TABLE extra (id)", false, 2},
		"all of our tables, from before":  {createFirst + ";" + createSecond + "; PRAGMA user_version = 2", false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			driver := reopen(t, databasetest.New(t))
			exec(t, driver, test.statement)
			before := number(t, driver, "SELECT count(*) FROM sqlite_master")
			files := migrations(t, "CREATE TABLE zero (id INTEGER); "+createFirst, createSecond) // a file may create several
			err := database.Migrate(t.Context(), driver, files, quiet)
			if errors.Is(err, database.ErrForeign) != test.foreign || (err != nil) != test.foreign {
				t.Errorf("got %v", err)
			}
			if test.foreign {
				if n := number(t, driver, "SELECT count(*) FROM sqlite_master"); n != before {
					t.Errorf("%d tables were added", n-before)
				}
				return
			}
			if id := number(t, driver, "PRAGMA application_id"); id != 0x44617962 {
				t.Errorf("the mark is %#x", id)
			}
			if version := number(t, driver, "PRAGMA user_version"); version != 2 {
				t.Errorf("the version is %d", version)
			}
			if n := number(t, driver, "SELECT count(*) FROM applied_migrations"); n != test.files {
				t.Errorf("%d files were noted, want %d", n, test.files)
			}
			if n := number(t, driver, "SELECT count(*) FROM second"); n != 1 {
				t.Errorf("%d rows in the new table", n)
			}
		})
	}
}

// TestMigrateBesideOtherTables has a PostgreSQL database that others use, too.
func TestMigrateBesideOtherTables(t *testing.T) {
	if !databasetest.Postgres() {
		t.Skip("this is about PostgreSQL")
	}
	driver := reopen(t, databasetest.New(t))
	exec(t, driver, "CREATE TABLE photo (id integer)")
	mustMigrate(t, driver, migrations(t, createFirst))
	exec(t, driver, "CREATE SCHEMA other; CREATE TABLE other.second (id integer)")
	mustMigrate(t, driver, migrations(t, createFirst, createSecond))
}

// TestWaitForAnotherThatMigrates lasts longer than a statement may take, or wait for a lock. Later that holds again.
func TestWaitForAnotherThatMigrates(t *testing.T) {
	if !databasetest.Postgres() {
		t.Skip("on SQLite nobody waits for a lock")
	}
	driver, url := open(t)
	blocker := begin(t, driver, false)
	exec(t, blocker, "LOCK TABLE note")
	files := migrations(t, "LOCK TABLE note", "SELECT 1 / (current_setting('lock_timeout') != '0')::int")
	migrated := make(chan error)
	for _, parameter := range []string{"", "&statement_timeout=50&lock_timeout=50&default_transaction_isolation=serializable"} {
		other := reopen(t, url+parameter)
		go func() { migrated <- database.Migrate(t.Context(), other, files, quiet) }()
		eventually(t, 10*time.Second, "one more wants to migrate", func() bool {
			return number(t, driver, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted = "+fmt.Sprint(parameter == "")) == 1
		})
	}
	exec(t, driver, "SELECT pg_sleep(0.1)")
	commit(t, blocker)
	if err := errors.Join(<-migrated, <-migrated); err != nil {
		t.Error(err)
	}
}

// TestTenThatStartAtOnce open one new database, as ten processes would: each has connections of its own, and knows nothing of the
// others. A file that was applied twice would fail or leave another row.
func TestTenThatStartAtOnce(t *testing.T) {
	texts := []string{
		"CREATE TABLE step (number integer)", "INSERT INTO step (number) VALUES (2)", "INSERT INTO step (number) SELECT 3 FROM step",
	}
	rounds := 20
	if databasetest.Postgres() {
		rounds = 5
	}
	for round := range rounds {
		url := databasetest.New(t)
		var starting sync.WaitGroup
		for i := range 10 {
			files := migrations(t, texts[:2+i%2]...)
			starting.Go(func() {
				driver, err := database.Open(context.Background(), url)
				if err != nil {
					t.Error(round, err)
					return
				}
				defer driver.Close()
				err = database.Migrate(t.Context(), driver, files, quiet)
				if err != nil && (len(texts) == 2+i%2 || !strings.Contains(err.Error(), "newer version")) {
					t.Error(round, err)
				}
			})
		}
		starting.Wait()
		driver := reopen(t, url)
		if n := number(t, driver, "SELECT count(*) FROM step"); n != 2 {
			t.Errorf("round %d: %d rows, want 2", round, n)
		}
		if n := number(t, driver, "SELECT count(*) FROM applied_migrations"); n != 3 {
			t.Errorf("round %d: %d files were noted, want 3", round, n)
		}
	}
}
