package migrations_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"daybook/database"
	"daybook/database/databasetest"
	"daybook/ent/migrations"
)

// migrated opens the PostgreSQL database at url, and migrates it.
func migrated(t *testing.T, url string) dialect.Driver {
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

func exec(t *testing.T, on dialect.ExecQuerier, statement string) {
	t.Helper()
	if err := on.Exec(t.Context(), statement, []any{}, nil); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// number returns the number that the query yields.
func number(t *testing.T, on dialect.ExecQuerier, query string) int {
	t.Helper()
	var rows entsql.Rows
	if err := on.Query(t.Context(), query, []any{}, &rows); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	n, err := entsql.ScanInt(rows)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func begin(t *testing.T, driver dialect.Driver) dialect.Tx {
	t.Helper()
	tx, err := driver.Tx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

const (
	insert  = "INSERT INTO messages (value, recorded_at) VALUES ('a', now()) RETURNING id"
	settled = "SELECT settled_message_id(-1)"
	locks   = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
)

func wantSettled(t *testing.T, driver dialect.Driver, want int) {
	t.Helper()
	if got := number(t, driver, settled); got != want {
		t.Errorf("messages are settled up to %d, want %d", got, want)
	}
}

// TestMessageIsSettledWhenNoEarlierOneCanCome has transactions that end in another order than they took their numbers in.
func TestMessageIsSettledWhenNoEarlierOneCanCome(t *testing.T) {
	driver := migrated(t, databasetest.Start(t, "fsync=off").New(t))
	wantSettled(t, driver, 0)
	if id := number(t, driver, insert); id != 1 {
		t.Fatalf("the first number is %d", id)
	}
	wantSettled(t, driver, 1)

	slow, undone := begin(t, driver), begin(t, driver)
	number(t, slow, insert)   // 2
	number(t, undone, insert) // 3
	number(t, driver, insert) // 4
	wantSettled(t, driver, 1)
	if err := undone.Rollback(); err != nil {
		t.Fatal(err)
	}
	wantSettled(t, driver, 1)
	number(t, slow, insert)                                                                                  // 5
	exec(t, slow, "INSERT INTO messages (value, recorded_at) SELECT 'b', now() FROM generate_series(1, 10)") // 6 to 15
	if n := number(t, slow, locks); n != 1 {
		t.Errorf("a transaction holds %d locks", n)
	}
	wantSettled(t, driver, 1)
	if err := slow.Commit(); err != nil {
		t.Fatal(err)
	}
	wantSettled(t, driver, 15)

	// A savepoint that is rolled back takes its lock with it.
	tx := begin(t, driver)
	exec(t, tx, "SAVEPOINT s")
	number(t, tx, insert) // 16
	exec(t, tx, "ROLLBACK TO s")
	number(t, driver, insert) // 17
	wantSettled(t, driver, 17)
	number(t, tx, insert) // 18
	number(t, driver, insert)
	wantSettled(t, driver, 17)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	wantSettled(t, driver, 19)

	// A lock has the lower half of a number.
	for _, newest := range []int{1<<31 - 1, 1<<32 - 1, 1<<32 + 1<<31 - 1, 1 << 40} {
		exec(t, driver, fmt.Sprintf("SELECT setval('messages_id_seq', %d)", newest))
		tx := begin(t, driver)
		number(t, tx, insert)
		number(t, driver, insert)
		wantSettled(t, driver, newest)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		wantSettled(t, driver, newest+2)
	}
}

// TestSettledMessagesStayTheSame records in several transactions side by side, or none, and looks at what is settled meanwhile.
func TestSettledMessagesStayTheSame(t *testing.T) {
	driver := migrated(t, databasetest.Start(t, "fsync=off").New(t))
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	var recording sync.WaitGroup
	for range 4 {
		recording.Go(func() {
			for ctx.Err() == nil {
				tx, err := driver.Tx(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				for range 1 + rand.IntN(3) {
					if err := tx.Exec(t.Context(), strings.TrimSuffix(insert, " RETURNING id"), []any{}, nil); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
				}
				end := tx.Commit
				if rand.IntN(4) == 0 {
					end = tx.Rollback
				}
				if err := end(); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Duration(rand.IntN(9000)) * time.Microsecond)
			}
		})
	}
	count := func(id int) int {
		return number(t, driver, fmt.Sprintf("SELECT count(*) FROM messages WHERE id <= %d", id))
	}
	seen := map[int]int{} // messages up to a settled number
	for len(seen) < 200 && ctx.Err() == nil {
		id := number(t, driver, settled)
		if _, known := seen[id]; !known {
			seen[id] = count(id)
		}
	}
	stop()
	recording.Wait()
	for id, n := range seen {
		if now := count(id); now != n {
			t.Errorf("up to %d there were %d messages when they were settled, and there are %d", id, n, now)
		}
	}
	if newest := number(t, driver, "SELECT max(id) FROM messages"); len(seen) < 200 || number(t, driver, settled) < newest {
		t.Errorf("looked at %d numbers, and in the end messages up to %d are settled", len(seen), number(t, driver, settled))
	}
}

// TestIndexForSearchNeedsAnExtension migrates as somebody who may add it, and as somebody who may not.
func TestIndexForSearchNeedsAnExtension(t *testing.T) {
	server := databasetest.Start(t, "fsync=off")
	const indexes = "SELECT count(*) FROM pg_indexes WHERE indexname = 'messages_folded_trigrams'"
	if n := number(t, migrated(t, server.New(t)), indexes); n != 1 {
		t.Errorf("%d indexes, want 1", n)
	}
	url := server.New(t)
	owner, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, owner, "CREATE ROLE guest LOGIN; GRANT CREATE ON SCHEMA public TO guest")
	if err := owner.Close(); err != nil {
		t.Fatal(err)
	}
	driver := migrated(t, strings.Replace(url, "postgres@", "guest@", 1))
	if n := number(t, driver, indexes); n != 0 {
		t.Errorf("%d indexes, want 0", n)
	}
	number(t, driver, insert)
	wantSettled(t, driver, 1)
}
