package handlers_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"entgo.io/ent/dialect"

	daybook "daybook/book"
	"daybook/database"
	"daybook/database/databasetest"
	"daybook/ent/migrations"
)

// versions are the statements by which older versions of Daybook made their database.
var versions = map[string][]string{
	"1": {
		"CREATE TABLE `messages` (`id` integer NOT NULL PRIMARY KEY AUTOINCREMENT, `value` text NOT NULL, `recorded_at` datetime NOT NULL)",
		"PRAGMA user_version = 1",
	},
	"2": {
		"CREATE TABLE `messages` (`id` integer NOT NULL PRIMARY KEY AUTOINCREMENT, `value` text NOT NULL, `recorded_at` datetime NOT NULL, `idempotency_key` text NULL)",
		"CREATE UNIQUE INDEX `message_idempotency_key` ON `messages` (`idempotency_key`) WHERE idempotency_key IS NOT NULL",
		"CREATE TABLE `slices` (`id` integer NOT NULL, `bits` blob NOT NULL, PRIMARY KEY (`id`))",
		"INSERT INTO slices (id, bits) VALUES (0, zeroblob(1008)), (1023, zeroblob(1008))",
		"PRAGMA user_version = 2",
		"PRAGMA application_id = 1147238754",
	},
	"3": { // whose upgrade from version 2 was interrupted
		version3,
		"CREATE UNIQUE INDEX `message_idempotency_key` ON `messages` (`idempotency_key`) WHERE idempotency_key IS NOT NULL",
		"CREATE TABLE `slices` (`id` integer NOT NULL, `bits` blob NOT NULL, PRIMARY KEY (`id`))",
		"PRAGMA user_version = 3",
		"PRAGMA application_id = 1147238754",
	},
	"3 with an index of times": {
		version3,
		"CREATE UNIQUE INDEX `message_idempotency_key` ON `messages` (`idempotency_key`) WHERE idempotency_key IS NOT NULL",
		"CREATE INDEX `message_recorded_at` ON `messages` (`recorded_at`)",
		"PRAGMA user_version = 3",
		"PRAGMA application_id = 1147238754",
	},
}

const version3 = "CREATE TABLE `messages` (`id` integer NOT NULL PRIMARY KEY AUTOINCREMENT, `value` text NOT NULL, `recorded_at` datetime NOT NULL, `idempotency_key` text NULL, `folded` text NULL)"

// oldBook makes a book of so many messages as the version did, and returns its driver and its path.
func oldBook(t *testing.T, version string, messages int) (driver dialect.Driver, path string) {
	t.Helper()
	databasetest.SQLiteOnly(t) // there was no other database
	path = filepath.Join(t.TempDir(), "old.db")
	driver, err := database.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { driver.Close() })
	for _, statement := range append(slices.Clone(versions[version]),
		"INSERT INTO messages (value, recorded_at) VALUES ('Straße nach İzmir', '2026-11-19 07:05:09.000001+00:00')",
		fmt.Sprintf(`WITH RECURSIVE number(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM number WHERE n < %d)
			INSERT INTO messages (value, recorded_at) SELECT 'ПИСЬМО ' || n, '2026-11-19 07:05:10.000001+00:00' FROM number`, messages),
	) {
		if err := driver.Exec(t.Context(), statement, []any{}, nil); err != nil {
			t.Fatal(statement, err)
		}
	}
	return driver, path
}

// TestBookOfAnOlderVersion opens books that were written when messages had no keys, when they had an index for searching, and when
// they were first folded.
func TestBookOfAnOlderVersion(t *testing.T) {
	for version := range versions {
		t.Run("version "+version, func(t *testing.T) {
			driver, path := oldBook(t, version, 2)
			driver.Close()
			b := openAt(t, path)
			b.record("Письмо from now")
			if got := b.page("?q=письмо").ids(); got != "3 2" {
				t.Errorf("found %q", got)
			}
			if got := b.page("?q=STRASSE").ids(); got != "1" {
				t.Errorf("found %q", got)
			}
			if got := b.send("GET", "/messages/1", "").body; got != "1\t2026-11-19T07:05:09Z\tStraße nach İzmir\n" {
				t.Errorf("it reads %q", got)
			}
			if got := b.number("SELECT count(*) FROM sqlite_master WHERE name = 'slices'"); got != 0 {
				t.Error("the old index is still there")
			}
			if got := b.number("SELECT count(*) FROM sqlite_master WHERE name LIKE 'message\\_%' ESCAPE '\\'"); got != 3 {
				t.Errorf("%d indexes, want those of keys, times and removals", got)
			}
			if !strings.Contains(b.log.String(), `level=INFO msg="folded messages for searching" up_to=2 of=2`) {
				t.Errorf("the log does not say that messages were folded:\n%s", b.log)
			}
			before := b.number("PRAGMA schema_version")
			again := openAt(t, path)
			if after := again.number("PRAGMA schema_version"); after != before || strings.Contains(again.log.String(), "fold") {
				t.Errorf("the second start changed tables %d times, and logged\n%s", after-before, again.log)
			}
		})
	}
}

// TestUpgradeThatIsStopped fails in the third transaction, and goes on when it is started again.
func TestUpgradeThatIsStopped(t *testing.T) {
	for version := range versions {
		t.Run("version "+version, func(t *testing.T) {
			driver, path := oldBook(t, version, 5500)
			if err := database.Migrate(t.Context(), driver, migrations.Files, slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
			b := &book{t: t, driver: driver}
			b.exec("CREATE TRIGGER stop BEFORE UPDATE ON messages WHEN old.id = 4500 BEGIN SELECT RAISE(ABORT, 'stopped'); END")
			log := &log{}
			err := daybook.Upgrade(t.Context(), driver, slog.New(slog.NewTextHandler(log, nil)))
			if err == nil || !strings.Contains(err.Error(), "stopped") {
				t.Fatalf("it ended with %v", err)
			}
			if got := b.number("SELECT count(*) FROM messages WHERE folded IS NOT NULL"); got != 4000 {
				t.Errorf("%d messages were folded", got)
			}
			b.exec("DROP TRIGGER stop")
			b.exec("CREATE TRIGGER twice BEFORE UPDATE ON messages WHEN old.folded IS NOT NULL BEGIN SELECT RAISE(ABORT, 'twice'); END")
			driver.Close()

			b = openAt(t, path)
			if got := len(b.found("письмо", "after=0")); got != 5499 {
				t.Errorf("found %d messages of 5499", got)
			}
			if !strings.Contains(b.log.String(), "up_to=5500 of=5500") {
				t.Errorf("the log does not say that all are folded:\n%s", b.log)
			}
		})
	}
}
