package database

import (
	"context"
	"database/sql"
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

	"daybook/database/databasetest"
)

// TestStorm has many clients do at random what clients do, good and bad, on a disk that is full now and then, or on a server that
// cuts connections, and compares what is stored with what was acknowledged.
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
	databasetest.SQLiteOnly(t) // in a bubble nobody can wait for a server
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
	driver := openNotes(t)
	for _, statement := range []string{
		"CREATE TABLE row (n INTEGER, name TEXT, ballast TEXT)",
		"CREATE TABLE child (note TEXT REFERENCES note (value) DEFERRABLE INITIALLY DEFERRED)",
		"INSERT INTO note VALUES ('taken')",
	} {
		if err := driver.Exec(t.Context(), statement, []any{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	acknowledged := map[string]int{} // by the name of each transaction that was committed, how many rows it has stored
	unknown := map[string]int{}      // the same of those whose COMMIT was not answered
	var running sync.WaitGroup
	for i := range clients {
		running.Go(func() {
			for j := range transactions {
				name := fmt.Sprint(i, " ", j)
				rows, err := transact(t, driver, name, think)
				mu.Lock()
				switch {
				case IsUnknown(err):
					unknown[name] = rows
				case rows > 0 && err == nil:
					acknowledged[name] = rows
				}
				mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	var others sync.WaitGroup
	if sqlite, ok := driver.(*sqliteDriver); ok {
		others.Go(func() { fillDisk(t, sqlite, done, think) })
	} else {
		others.Go(func() { cutConnections(t, driver, done, think) })
	}
	others.Go(func() { readOutside(t, driver, done, think) })
	running.Wait()
	close(done)
	others.Wait()

	stored := stored(t, driver)
	t.Logf("%d transactions are stored, %d are unknown", len(stored), len(unknown))
	for name, rows := range unknown {
		if stored[name] == rows && rows > 0 {
			acknowledged[name] = rows
		}
	}
	if !maps.Equal(stored, acknowledged) || len(acknowledged) == 0 {
		t.Errorf("%d transactions are stored, %d were acknowledged", len(stored), len(acknowledged))
	}
	calm(t, driver)
}

// calm waits until every connection is given back.
func calm(t *testing.T, driver dialect.Driver) {
	t.Helper()
	var pool *pool
	var watch *watch
	free := func() bool { return true }
	switch driver := driver.(type) {
	case *postgresDriver:
		pool, watch = driver.pool, driver.watch
	case *sqliteDriver:
		pool, watch = driver.readers, driver.watch
		w := driver.writer
		free = func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return !w.taken && len(w.queue) == 0 && w.group == nil
		}
	}
	wait(t, "the turn, connections and places given back", func() bool {
		return free() && pool.db.Stats().InUse == 0 && len(pool.free) == cap(pool.free)
	})
	if open := len(watch.open); open != 0 {
		t.Errorf("%d transactions are still watched", open)
	}
}

// transact runs a transaction, and returns how many rows of it were acknowledged, and why it was not committed.
func transact(t *testing.T, driver beginner, name string, think func()) (stored int, failed error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var hangingUp sync.WaitGroup
	defer hangingUp.Wait()
	if rand.IntN(5) == 0 {
		hangingUp.Go(func() { think(); cancel() })
	}
	// On PostgreSQL, numbering needs more than what is usual.
	tx, err := driver.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
	if err != nil {
		t.Error(err)
		return 0, err
	}
	postgres := databasetest.Postgres()
	broken := false // it cannot be committed,
	late := false   // of which only the server's answer to COMMIT tells, which may be lost
	exec := func(query string, args ...any) error {
		return within(t, maxWait+maxGroupAge, func() error { return tx.Exec(ctx, query, append([]any{}, args...), nil) })
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
			if postgres && err == nil && rand.IntN(2) == 0 {
				err = forgotten.Close() // or else there is no next statement
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
		case n == 8 && postgres:
			if exec("SELECT pg_terminate_backend(pg_backend_pid())") == nil {
				t.Error("the end of the connection was not noticed")
			}
			broken = true
		case n == 8: // SQLite rolls back, and with it the others of the group
			broken = IsConstraint(exec("INSERT OR ROLLBACK INTO note VALUES ('taken')")) || broken
		case n == 9: // COMMIT fails
			err = exec("INSERT INTO child VALUES ('nobody')")
			late = late || err == nil
		case n == 10: // a savepoint of its own
			err = errors.Join(exec("SAVEPOINT own"), exec("INSERT INTO row VALUES (-1, 'own', '')"), exec("ROLLBACK TO own"))
		case n == 11: // an end that is not its own to bring about
			ends := []string{"COMMIT", "SELECT 1; COMMIT", "/* */ ROLLBACK; BEGIN", "RELEASE " + savepoint}
			if exec(ends[rand.IntN(4)]) == nil && (postgres || refusesBefore) {
				t.Error("a statement has ended the transaction")
			}
			broken = true
		case n == 12: // a row by way of a query
			var rows entsql.Rows
			query := "INSERT INTO row SELECT count(*) + 1, ?, '' FROM row RETURNING n"
			if postgres {
				query = "INSERT INTO row SELECT count(*) + 1, $1::text, '' FROM row RETURNING n"
			}
			if err = tx.Query(ctx, query, []any{name}, &rows); err == nil {
				_, err = entsql.ScanInt(rows)
				err = errors.Join(err, rows.Close())
			}
			stored++
		default:
			query := "INSERT INTO row SELECT count(*) + 1, ?, hex(randomblob(?)) FROM row"
			if postgres {
				query = "INSERT INTO row SELECT count(*) + 1, $1::text, repeat('x', $2::int) FROM row"
			}
			err = exec(query, name, rand.IntN(2000))
			stored++
		}
		if err != nil {
			rollback()
			return 0, err
		}
		think()
	}
	if rand.IntN(4) == 0 {
		rollback()
		return 0, nil
	}
	err = within(t, maxHold+watchPause+maxGroupAge, tx.Commit)
	if (broken || late) && err == nil || broken && IsUnknown(err) {
		t.Errorf("%s was committed: %v", name, err)
	}
	if late {
		stored = 0
	}
	return stored, err
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

// cutConnections has the server end a connection that somebody uses, again and again.
func cutConnections(t *testing.T, driver dialect.Driver, done chan struct{}, think func()) {
	const query = `SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1) AS one`
	for {
		var rows entsql.Rows
		err := driver.Query(t.Context(), query, []any{}, &rows)
		if err == nil {
			err = rows.Close()
		}
		if err != nil && !IsBusy(err) {
			t.Error(err)
		}
		select {
		case <-done:
			return
		default:
		}
		for range 1000 {
			think()
		}
	}
}

// readOutside reads outside of transactions, in one that reads, and writes by a query, again and again. The last is as good as
// no row.
func readOutside(t *testing.T, driver dialect.Driver, done chan struct{}, think func()) {
	for {
		for _, query := range []string{"SELECT count(*) FROM row", "DELETE FROM note WHERE value = 'nobody' RETURNING 1"} {
			var rows entsql.Rows
			err := driver.Query(t.Context(), query, []any{}, &rows)
			if err == nil {
				err = rows.Close()
			}
			if err != nil && !IsBusy(err) && !IsFull(err) && !IsUnknown(err) {
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
func stored(t *testing.T, driver dialect.Driver) map[string]int {
	t.Helper()
	const query = "SELECT n, name FROM row ORDER BY n"
	var rows entsql.Rows
	err := driver.Query(t.Context(), query, []any{}, &rows)
	for range 10 { // the last cut may still be on its way
		if IsBusy(err) {
			err = driver.Query(t.Context(), query, []any{}, &rows)
		}
	}
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
