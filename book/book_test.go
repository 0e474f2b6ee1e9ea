package book_test

import (
	"log/slog"
	"testing"

	"entgo.io/ent/dialect"
	"go.uber.org/goleak"

	"daybook/database"
	"daybook/database/databasetest"
	"daybook/ent/migrations"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOnPostgreSQL(t *testing.T) { databasetest.OnPostgreSQL(t) }

// open opens the database at url as main does.
func open(t testing.TB, url string) dialect.Driver {
	t.Helper()
	driver, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := driver.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := database.Migrate(t.Context(), driver, migrations.Files, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return driver
}
