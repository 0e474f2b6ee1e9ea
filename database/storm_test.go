package database

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
)

// TestStorm has many clients do at random what clients do, good and bad, on a disk that is full now and then, and compares
// what is stored with what was acknowledged.
func TestStorm(t *testing.T) {
	storm(t, 32, 60, func() {
		for range rand.IntN(200) {
			runtime.Gosched()
		}
	})
}

// TestStormOfSlowClients has them think for seconds as well, so that they come upon the limits of time. Time does not pass
// while any of them can go on.
func TestStormOfSlowClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storm(t, 12, 200, func() {
			switch rand.IntN(20) {
			case 0:
				time.Sleep(rand.N(2 * maxHold))
			case 1, 2, 3:
				time.Sleep(rand.N(maxWait))
			default:
				time.Sleep(rand.N(2 * maxGroupAge))
			}
		})
	})
}

// storm runs the clients, each with so many transactions. Between any two things that one does, it thinks.
func storm(t *testing.T, clients, transactions int, think func()) {
	driver, w := openGroup(t)
	for _, statement := range []string{
		"CREATE TABLE row (n INTEGER, name TEXT, ballast TEXT)",
		"CREATE TABLE child (note TEXT REFERENCES note (value) DEFERRABLE INITIALLY DEFERRED)",
		"INSERT INTO note VALUES ('taken')",
	} {
		if _, err := driver.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	acknowledged := map[string]int{} // by the name of each transaction that was committed, how many rows it has stored
	var running sync.WaitGroup
	for i := range clients {
		running.Go(func() {
			for j := range transactions {
				name := fmt.Sprint(i, " ", j)
				if rows := transact(t, driver, name, think); rows > 0 {
					mu.Lock()
					acknowledged[name] = rows
					mu.Unlock()
				}
			}
		})
	}
	done := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { fillDisk(t, driver, done, think) })
	others.Go(func() { readOutside(t, driver, done, think) })
	running.Wait()
	close(done)
	others.Wait()

	if stored := stored(t, driver); !maps.Equal(stored, acknowledged) || len(acknowledged) == 0 {
		t.Errorf("%d transactions are stored, %d were acknowledged", len(stored), len(acknowledged))
	}
	wait(t, "the turn, connections and places given back", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return !w.taken && len(w.queue) == 0 && w.group == nil &&
			driver.readers.db.Stats().InUse == 0 && len(driver.readers.places) == cap(driver.readers.places)
	})
	if open := len(driver.watch.open); open != 0 {
		t.Errorf("%d transactions are still watched", open)
	}
}

// transact runs a transaction, and returns how many rows of it were acknowledged.
func transact(t *testing.T, driver dialect.Driver, name string, think func()) (stored int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var hangingUp sync.WaitGroup
	defer hangingUp.Wait()
	if rand.IntN(5) == 0 {
		hangingUp.Go(func() { think(); cancel() })
	}
	tx, err := driver.Tx(ctx)
	if err != nil {
		t.Error(err)
		return 0
	}
	broken := false // it cannot be committed
	exec := func(query string, args ...any) error {
		return within(t, maxWait, func() error { return tx.Exec(ctx, query, append([]any{}, args...), nil) })
	}
	rollback := func() { _ = within(t, maxHold+watchPause+maxGroupAge, tx.Rollback) }
	for range 1 + rand.IntN(5) {
		var err error
		switch n := rand.IntN(40); {
		case n < 4:
			var forgotten entsql.Rows
			if err = tx.Query(ctx, "SELECT name FROM row", []any{}, &forgotten); err == nil {
				forgotten.Next()
			}
		case n < 6: // a statement that fails, of which no notice is taken
			if exec("INSERT INTO note VALUES ('taken')") == nil {
				t.Error("a conflict was not noticed")
			}
			broken = true
		case n < 8: // one that fails in a savepoint
			if err = exec("SAVEPOINT own"); err == nil && exec("INSERT INTO note VALUES ('taken')") == nil {
				t.Error("a conflict was not noticed")
			}
			err = errors.Join(err, exec("ROLLBACK TO own"))
		case n == 8: // SQLite rolls back, and with it the others of the group
			broken = IsConstraint(exec("INSERT OR ROLLBACK INTO note VALUES ('taken')")) || broken
		case n == 9: // COMMIT fails
			err = exec("INSERT INTO child VALUES ('nobody')")
			broken = broken || err == nil
		case n == 10: // a savepoint of its own
			err = errors.Join(exec("SAVEPOINT own"), exec("INSERT INTO row VALUES (-1, 'own', '')"), exec("ROLLBACK TO own"))
		case n == 11: // an end that is not its own to bring about
			if exec([]string{"COMMIT", "SELECT 1; COMMIT", "/* */ ROLLBACK; BEGIN", "RELEASE " + savepoint}[rand.IntN(4)]) == nil && refusesBefore {
				t.Error("a statement has ended the transaction")
			}
			broken = true
		case n == 12: // a row by way of a query
			var rows entsql.Rows
			if err = tx.Query(ctx, "INSERT INTO row SELECT count(*) + 1, ?, '' FROM row RETURNING n", []any{name}, &rows); err == nil {
				_, err = entsql.ScanInt(rows)
				err = errors.Join(err, rows.Close())
			}
			stored++
		default:
			err = exec("INSERT INTO row SELECT count(*) + 1, ?, hex(randomblob(?)) FROM row", name, rand.IntN(2000))
			stored++
		}
		if err != nil {
			rollback()
			return 0
		}
		think()
	}
	if rand.IntN(4) == 0 {
		rollback()
		return 0
	}
	if within(t, maxHold+watchPause+maxGroupAge, tx.Commit) != nil {
		return 0
	}
	if broken {
		t.Errorf("%s was committed", name)
	}
	return stored
}

// within does what must not take longer than the limit.
func within(t *testing.T, limit time.Duration, do func() error) error {
	begun := time.Now()
	err := do()
	if took := time.Since(begun); took > limit {
		t.Errorf("it took %s, and may take %s", took, limit)
	}
	return err
}

// fillDisk makes the disk full for a while, again and again.
func fillDisk(t *testing.T, driver *sqliteDriver, done chan struct{}, think func()) {
	for {
		for _, pages := range []int{1, 1 << 30} { // it is never less than what is in use
			if _, err := driver.ExecContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil && !IsBusy(err) {
				t.Error(err)
			}
			think()
		}
		select {
		case <-done:
			return
		default:
		}
		for range 100 {
			think()
		}
	}
}

// readOutside reads outside of transactions, in one that reads, and writes by a query, again and again. The last is as good as
// no row.
func readOutside(t *testing.T, driver *sqliteDriver, done chan struct{}, think func()) {
	for {
		for _, query := range []string{"SELECT count(*) FROM row", "DELETE FROM note WHERE value = 'nobody' RETURNING 1"} {
			rows, err := driver.QueryContext(t.Context(), query)
			if err == nil {
				err = rows.Close()
			}
			if err != nil && !IsBusy(err) && !IsFull(err) {
				t.Error(err)
			}
			think()
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

// stored returns how many rows each transaction has stored, and sees that each has read what the one before it left.
func stored(t *testing.T, driver *sqliteDriver) map[string]int {
	t.Helper()
	rows, err := driver.QueryContext(t.Context(), "SELECT n, name FROM row ORDER BY rowid")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	stored := map[string]int{}
	for last := 0; rows.Next(); last++ {
		var n int
		var name string
		if err := rows.Scan(&n, &name); err != nil {
			t.Fatal(err)
		}
		if n != last+1 {
			t.Fatalf("row %d has the number %d", last+1, n)
		}
		stored[name]++
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return stored
}
