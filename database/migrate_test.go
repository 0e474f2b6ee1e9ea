package database_test

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql/schema"
	"entgo.io/ent/schema/field"

	"daybook/database"
)

func table(name string) *schema.Table {
	id := &schema.Column{Name: "id", Type: field.TypeInt, Increment: true}
	return &schema.Table{Name: name, Columns: []*schema.Column{id}, PrimaryKey: []*schema.Column{id}}
}

// empty opens a database without tables.
func empty(t *testing.T) (driver dialect.Driver, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "test.db")
	return reopen(t, path), path
}

func TestMigrateCreatesWhatIsMissing(t *testing.T) {
	driver, path := empty(t)
	for range 2 { // the second time there is nothing to do
		if err := database.Migrate(t.Context(), driver, 1, table("first")); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, driver, "CREATE TABLE note (value TEXT)")
	exec(t, driver, "INSERT INTO note (value) VALUES ('kept')")
	if err := database.Migrate(t.Context(), reopen(t, path), 2, table("first"), table("second")); err != nil {
		t.Fatal(err)
	}
	if n := number(t, driver, "SELECT count(*) FROM first, second"); n != 0 {
		t.Errorf("%d rows in new tables", n)
	}
	if n := number(t, driver, "SELECT count(*) FROM note"); n != 1 {
		t.Error("a row of a table that the schema does not know is gone")
	}
	tx := begin(t, driver, false)
	if on := number(t, tx, "PRAGMA foreign_keys"); on != 1 {
		t.Error("foreign keys are off after the migration")
	}
	commit(t, tx)
}

// TestMigrateKeepsRowsThatReferToAChangedTable has ent copy a table, drop it and rename the copy. Enforced meanwhile, the foreign
// key would take the rows that refer to it.
func TestMigrateKeepsRowsThatReferToAChangedTable(t *testing.T) {
	driver, _ := empty(t)
	parent := table("parent")
	child := table("child")
	reference := &schema.Column{Name: "parent_id", Type: field.TypeInt}
	child.Columns = append(child.Columns, reference)
	child.ForeignKeys = []*schema.ForeignKey{{
		Symbol: "child_parent", Columns: []*schema.Column{reference}, RefTable: parent, RefColumns: parent.Columns, OnDelete: schema.Cascade,
	}}
	name := &schema.Column{Name: "name", Type: field.TypeString, Nullable: true}
	parent.Columns = append(parent.Columns, name)
	if err := database.Migrate(t.Context(), driver, 1, parent, child); err != nil {
		t.Fatal(err)
	}
	exec(t, driver, "INSERT INTO parent (id, name) VALUES (1, '7')")
	exec(t, driver, "INSERT INTO child (parent_id) VALUES (1)")
	name.Type = field.TypeInt
	if err := database.Migrate(t.Context(), driver, 2, parent, child); err != nil {
		t.Fatal(err)
	}
	if n := number(t, driver, "SELECT count(*) FROM pragma_table_info('parent') WHERE name = 'name' AND type = 'INTEGER'"); n != 1 {
		t.Error("the table was not changed")
	}
	if n := number(t, driver, "SELECT count(*) FROM child"); n != 1 {
		t.Errorf("%d rows refer to the changed table, want 1", n)
	}
}

func TestMigrateRefusesANewerDatabase(t *testing.T) {
	driver, _ := empty(t)
	if err := database.Migrate(t.Context(), driver, 2, table("first")); err != nil {
		t.Fatal(err)
	}
	err := database.Migrate(t.Context(), driver, 1, table("first"), table("old"))
	if err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Fatalf("got %v", err)
	}
	if n := number(t, driver, "SELECT count(*) FROM sqlite_master WHERE name = 'old'"); n != 0 {
		t.Error("the newer database was changed")
	}
}

// TestMigrateRefusesAnotherProgramsDatabase has files that this package did not make. Those of an application that used its
// tables before it used Migrate are taken.
func TestMigrateRefusesAnotherProgramsDatabase(t *testing.T) {
	for name, test := range map[string]struct {
		statement string
		foreign   bool
	}{
		"tables of its own":               {"CREATE TABLE photo (id INTEGER PRIMARY KEY)", true},
		"a mark of its own":               {"PRAGMA application_id = 252006673", true}, // Fossil's
		"nothing":                         {"PRAGMA user_version = 0", false},
		"our tables, from before":         {"CREATE TABLE first (id INTEGER PRIMARY KEY AUTOINCREMENT)", false},
		"our tables and some of its user": {"CREATE TABLE first (id INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE extra (id)", false},
	} {
		t.Run(name, func(t *testing.T) {
			driver, _ := empty(t)
			exec(t, driver, test.statement)
			before := number(t, driver, "SELECT count(*) FROM sqlite_master")
			err := database.Migrate(t.Context(), driver, 1, table("first"))
			if errors.Is(err, database.ErrForeign) != test.foreign || (err != nil) != test.foreign {
				t.Errorf("got %v", err)
			}
			if n := number(t, driver, "SELECT count(*) FROM sqlite_master"); test.foreign && n != before {
				t.Errorf("%d tables were added", n-before)
			}
			if id := number(t, driver, "PRAGMA application_id"); !test.foreign && id != 0x44617962 {
				t.Errorf("the mark is %#x", id)
			}
		})
	}
}

// TestFourThatStartAtOnce open one new file, as four processes would: each has connections of its own, and knows nothing of the
// others.
func TestFourThatStartAtOnce(t *testing.T) {
	for round := range 100 {
		path := filepath.Join(t.TempDir(), "test.db")
		var starting sync.WaitGroup
		for range 4 {
			starting.Go(func() {
				driver, err := database.Open(t.Context(), path)
				if err != nil {
					t.Error(round, err)
					return
				}
				defer driver.Close()
				if err := database.Migrate(t.Context(), driver, 1, table("first"), table("second")); err != nil {
					t.Error(round, err)
					return
				}
				if err := driver.Exec(t.Context(), "INSERT INTO first DEFAULT VALUES", []any{}, nil); err != nil {
					t.Error(round, err)
				}
			})
		}
		starting.Wait()
		if n := number(t, reopen(t, path), "SELECT count(*) FROM first"); n != 4 {
			t.Errorf("round %d: %d rows, want 4", round, n)
		}
	}
}
