package handlers_test

import (
	"testing"

	"daybook/database"
	"daybook/ent/migrate"
	"daybook/ent/schema"
)

// TestBookOfTheFirstVersion opens a book that was written when messages had no keys and there was no index.
func TestBookOfTheFirstVersion(t *testing.T) {
	b := open(t)
	for _, statement := range []string{
		"DROP TABLE slices",
		"DROP TABLE messages",
		"CREATE TABLE `messages` (`id` integer NOT NULL PRIMARY KEY AUTOINCREMENT, `value` text NOT NULL, `recorded_at` datetime NOT NULL)",
		"INSERT INTO messages (value, recorded_at) VALUES ('from before', '2026-11-19 07:05:09.000001+00:00')",
		"PRAGMA user_version = 1",
	} {
		b.exec(statement)
	}
	if err := database.Migrate(t.Context(), b.driver, schema.Version, migrate.Tables...); err != nil {
		t.Fatal(err)
	}
	b.record("from now")
	if got := b.page("?q=FROM").ids(); got != "2 1" {
		t.Errorf("found %q", got)
	}
}
