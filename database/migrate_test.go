package database_test

import (
	"strings"
	"testing"

	"entgo.io/ent/dialect/sql/schema"
	"entgo.io/ent/schema/field"

	"daybook/database"
)

func table(name string) *schema.Table {
	id := &schema.Column{Name: "id", Type: field.TypeInt, Increment: true}
	return &schema.Table{Name: name, Columns: []*schema.Column{id}, PrimaryKey: []*schema.Column{id}}
}

func TestMigrateCreatesWhatIsMissing(t *testing.T) {
	driver, path := open(t)
	exec(t, driver, "INSERT INTO note (value) VALUES ('kept')")
	for range 2 { // the second time there is nothing to do
		if err := database.Migrate(t.Context(), driver, 1, table("first")); err != nil {
			t.Fatal(err)
		}
	}
	if err := database.Migrate(t.Context(), reopen(t, path), 2, table("first"), table("second")); err != nil {
		t.Fatal(err)
	}
	if n := number(t, driver, "SELECT count(*) FROM first, second"); n != 0 {
		t.Errorf("%d rows in new tables", n)
	}
	if n := number(t, driver, "SELECT count(*) FROM note"); n != 1 {
		t.Error("a row of a table that the schema does not know is gone")
	}
	if on := number(t, driver, "PRAGMA foreign_keys"); on != 1 {
		t.Error("foreign keys are off after the migration")
	}
}

func TestMigrateRefusesANewerDatabase(t *testing.T) {
	driver, _ := open(t)
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
