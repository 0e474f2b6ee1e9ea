package database

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
)

// write commits a value of so many bytes.
func write(t *testing.T, driver *sqliteDriver, size int) {
	t.Helper()
	tx, err := driver.Tx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Exec(t.Context(), "INSERT INTO note VALUES (zeroblob(?) || randomblob(8))", []any{size}, nil); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// logSize returns the size of the write-ahead log, in bytes.
func logSize(t *testing.T, w *writer) int64 {
	t.Helper()
	info, err := os.Stat(w.file.log)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestLogIsCopied writes several times more pages than the log is to have.
func TestLogIsCopied(t *testing.T) {
	for name, test := range map[string]struct {
		times int
		write func(*testing.T, *sqliteDriver)
	}{
		"small transactions": {3 * copyAt, func(t *testing.T, driver *sqliteDriver) { write(t, driver, 1) }},
		"large transactions": {copyAt / 8, func(t *testing.T, driver *sqliteDriver) { write(t, driver, 100<<10) }},
		"statements outside of a transaction": {3 * copyAt, func(t *testing.T, driver *sqliteDriver) {
			if _, err := driver.ExecContext(t.Context(), "INSERT INTO note VALUES (randomblob(8))"); err != nil {
				t.Fatal(err)
			}
		}},
		"queries outside of a transaction": {3 * copyAt, func(t *testing.T, driver *sqliteDriver) {
			rows, err := driver.QueryContext(t.Context(), "INSERT INTO note VALUES (randomblob(8)) RETURNING 1")
			if err != nil {
				t.Fatal(err)
			}
			if err := rows.Close(); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			driver, w := openGroup(t)
			for range test.times {
				test.write(t, driver)
			}
			if pages := logSize(t, w) / 4096; pages < copyAt || pages > copyAt+copyAt/4 {
				t.Errorf("the log has %d pages", pages)
			}
		})
	}
}

// TestLogThatWasLargeIsCopied has the log of a large transaction, which SQLite then uses from its begin.
func TestLogThatWasLargeIsCopied(t *testing.T) {
	driver, w := openGroup(t)
	write(t, driver, 8<<20)
	for range 2 * copyAt {
		write(t, driver, 1)
		if pages, _, err := w.checkpoint("NOOP"); err != nil || pages > copyAt+copyAt/4 {
			t.Fatalf("%d pages of the log are used: %v", pages, err)
		}
	}
}

// TestIdleReaderDoesNotKeepTheLog has a reader that does nothing, while others write more than the log is to hold.
func TestIdleReaderDoesNotKeepTheLog(t *testing.T) {
	driver, w := openGroup(t)
	write(t, driver, 1)
	begun, err := driver.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	idle := begun.(*tx)
	var rows entsql.Rows
	if err := idle.Query(t.Context(), "SELECT value FROM note", []any{}, &rows); err != nil {
		t.Fatal(err)
	}
	write(t, driver, 1)
	idle.expire() // as it does every maxHold
	if idle.done != nil {
		t.Fatalf("it was ended, and was in nobody's way: %v", idle.done)
	}
	for range maxLog>>20 + 1 {
		write(t, driver, 1<<20)
	}
	if size := logSize(t, w); size < maxLog {
		t.Fatalf("the log has %d bytes, fewer than what the reader keeps", size)
	}
	idle.expire()
	if rows.Next() {
		t.Error("it still reads")
	}
	if err := idle.Commit(); !errors.Is(err, ErrHeldTooLong) {
		t.Errorf("its commit: %v", err)
	}
	w.trimmed = time.Time{} // a second ago
	write(t, driver, 1)
	if size := logSize(t, w); size != 0 {
		t.Errorf("the log still has %d bytes", size)
	}
	var ms int64
	if err := w.conn.QueryRowContext(t.Context(), "PRAGMA busy_timeout").Scan(&ms); err != nil || ms != busyTimeout.Milliseconds() {
		t.Errorf("the writer now waits for %d ms: %v", ms, err)
	}
}

// TestCloseEndsTheWatch closes the database while a transaction is forgotten.
func TestCloseEndsTheWatch(t *testing.T) {
	driver, _ := openGroup(t)
	forgotten, err := driver.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := forgotten.Exec(t.Context(), "SELECT 1", []any{}, nil); err != nil {
		t.Fatal(err)
	}
	if err := driver.Close(); err != nil {
		t.Fatal(err)
	}
	if driver.watch.timer.Stop() || len(driver.watch.open) != 0 {
		t.Error("it is still looked at")
	}
	if err := forgotten.Rollback(); err != nil {
		t.Error(err)
	}
}

// TestReadersByTurnsDoNotKeepTheLog has somebody read at any moment, so that SQLite by itself never gets to begin the log anew:
// each ends when the next one has its snapshot.
func TestReadersByTurnsDoNotKeepTheLog(t *testing.T) {
	driver, w := openGroup(t)
	ctx, cancel := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	last := snapshot(t, driver)
	reading.Go(func() {
		for ctx.Err() == nil {
			next := snapshot(t, driver)
			if err := last.Commit(); err != nil {
				t.Error(err)
			}
			last = next
			time.Sleep(5 * time.Millisecond) // it is a page that is being made
		}
		if err := last.Commit(); err != nil {
			t.Error(err)
		}
	})
	var most int64
	for range 2 * maxLog >> 20 {
		write(t, driver, 1<<20)
		most = max(most, logSize(t, w))
	}
	if most < maxLog/2 { // it may have been emptied before the test saw it at its largest
		t.Fatalf("the log had %d bytes at most: the readers have not kept it", most)
	}
	for limit := time.Now().Add(10 * time.Second); logSize(t, w) > maxLog; write(t, driver, 1) {
		if time.Now().After(limit) {
			t.Fatalf("the log still has %d bytes", logSize(t, w))
		}
	}
}

// TestLogIsBoundedWhoeverReads has readers that the writer does not wait for: some that overlap, and one that stays.
func TestLogIsBoundedWhoeverReads(t *testing.T) {
	const value = 64 << 10
	for name, reading := range map[string][]time.Duration{
		"overlapping": {300 * time.Millisecond, 300 * time.Millisecond},
		"one stays":   {time.Hour},
		"both":        {300 * time.Millisecond, 400 * time.Millisecond, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			driver, w := openGroup(t)
			w.maxLog, w.hardLog = 1<<20, 4<<20
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			defer running.Wait()
			defer cancel()
			for _, hold := range reading {
				running.Go(func() {
					for ctx.Err() == nil {
						read(t, ctx, driver, hold)
					}
				})
			}
			var most int64
			emptied := 0
			for range 400 {
				before := logSize(t, w)
				if before > w.hardLog {
					w.trimmed = time.Time{} // a second ago
				}
				write(t, driver, value)
				size := logSize(t, w)
				most = max(most, size)
				if size < before {
					emptied++
				}
			}
			if most <= w.maxLog {
				t.Errorf("the log had %d bytes at most: the readers have not kept it", most)
			}
			if limit := w.hardLog + 16*value; most > limit {
				t.Errorf("the log had %d bytes, and may have %d", most, limit)
			}
			if emptied == 0 {
				t.Error("the log was never emptied")
			}
		})
	}
}

// TestRowsOutsideDoNotStopTheWriter keeps rows open outside of a transaction, which only the application can close, while the log is
// too large.
func TestRowsOutsideDoNotStopTheWriter(t *testing.T) {
	driver, w := openGroup(t)
	write(t, driver, 1)
	rows, err := driver.QueryContext(t.Context(), "SELECT value FROM note")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	w.maxLog, w.hardLog = 0, 0
	a := store(t, driver, "a")
	a.hasTurn()
	a.commit()
	select {
	case err := <-a.ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(maxWait):
		t.Error("the writer still waits")
	}
}

// snapshot returns a transaction that has read.
func snapshot(t *testing.T, driver *sqliteDriver) dialect.Tx {
	tx, err := driver.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	if err == nil {
		err = tx.Query(t.Context(), "SELECT count(*) FROM note", []any{}, &entsql.Rows{})
	}
	if err != nil {
		t.Error(err)
	}
	return tx
}

// read has a transaction read, and hold what it has read for a while.
func read(t *testing.T, ctx context.Context, driver *sqliteDriver, hold time.Duration) {
	asked := time.Now()
	tx := snapshot(t, driver)
	if waited := time.Since(asked); waited > 3*time.Second { // trimWait on a busy machine
		t.Errorf("it waited for %s to read", waited)
	}
	ended, done := context.WithTimeout(ctx, hold)
	defer done()
	<-ended.Done()
	if err := tx.Commit(); err != nil && !errors.Is(err, ErrHeldTooLong) {
		t.Error(err)
	}
}
