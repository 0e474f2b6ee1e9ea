package database

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"daybook/database/databasetest"
)

// openGroup opens a database with a table note(value), and shows its writer.
func openGroup(t *testing.T) (*sqliteDriver, *writer) {
	t.Helper()
	databasetest.SQLiteOnly(t)
	opened, err := Open(t.Context(), filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	driver := opened.(*sqliteDriver)
	if _, err := driver.ExecContext(t.Context(), "CREATE TABLE note (value TEXT UNIQUE)"); err != nil {
		t.Fatal(err)
	}
	return driver, driver.writer
}

// notes returns what is stored, in order of arrival.
func notes(t *testing.T, driver dialect.Driver) string {
	t.Helper()
	query := "SELECT value FROM note ORDER BY rowid"
	if databasetest.Postgres() {
		query = "SELECT value FROM note ORDER BY ctid"
	}
	var rows entsql.Rows
	if err := driver.Query(t.Context(), query, []any{}, &rows); err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var values []string
	if err := entsql.ScanSlice(rows, &values); err != nil {
		t.Fatal(err)
	}
	return strings.Join(values, " ")
}

// client is one that runs a transaction beside others.
type client struct {
	t      *testing.T
	tx     dialect.Tx
	stored chan error // what its INSERT came to
	ended  chan error // what its end came to
}

// store begins a transaction and stores a value, on a goroutine of its own: it has to wait for its turn.
func store(t *testing.T, driver dialect.Driver, value string) *client {
	t.Helper()
	tx, err := driver.Tx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t, tx, make(chan error, 1), make(chan error, 1)}
	query := "INSERT INTO note VALUES (?)"
	if databasetest.Postgres() {
		query = "INSERT INTO note VALUES ($1)"
	}
	go func() { c.stored <- tx.Exec(t.Context(), query, []any{value}, nil) }()
	return c
}

// hasTurn waits until the client's statement has run.
func (c *client) hasTurn() {
	c.t.Helper()
	if err := <-c.stored; err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) commit()   { go func() { c.ended <- c.tx.Commit() }() }
func (c *client) rollback() { go func() { c.ended <- c.tx.Rollback() }() }

// inQueue waits until so many wait for their turn.
func inQueue(t *testing.T, w *writer, n int) {
	t.Helper()
	wait(t, fmt.Sprint(n, " in the queue"), func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.queue) == n
	})
}

// wait waits until it is so.
func wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !is(); runtime.Gosched() {
		if time.Now().After(limit) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// staysOpen keeps the open group from its end for its age, however slow the machine is. A client has the turn, and does nothing.
func staysOpen(w *writer) { w.group.begun = time.Now().Add(time.Hour) }

// three has three clients in the order a, b, c, of which a has the turn.
func three(t *testing.T) (driver *sqliteDriver, w *writer, a, b, c *client) {
	t.Helper()
	driver, w = openGroup(t)
	a = store(t, driver, "a")
	a.hasTurn()
	staysOpen(w)
	b = store(t, driver, "b")
	inQueue(t, w, 1)
	c = store(t, driver, "c")
	inQueue(t, w, 2)
	return driver, w, a, b, c
}

func TestWritersShareACommit(t *testing.T) {
	driver, _, a, b, c := three(t)
	a.commit()
	b.hasTurn()
	b.commit()
	c.hasTurn()
	if got := notes(t, driver); got != "" {
		t.Errorf("before the commit readers see %q", got)
	}
	select {
	case err := <-a.ended:
		t.Errorf("before the commit, a returned %v", err)
	case err := <-b.ended:
		t.Errorf("before the commit, b returned %v", err)
	default:
	}
	c.commit()
	for _, client := range []*client{a, b, c} {
		if err := <-client.ended; err != nil {
			t.Error(err)
		}
	}
	if got := notes(t, driver); got != "a b c" {
		t.Errorf("stored: %q", got)
	}
}

// TestLeaderLetsOthersJoin has clients that record again and again, on one processor. When a commit has woken them, the first one
// ends its next transaction before the others run. If it committed at once, every other commit would be of one transaction.
func TestLeaderLetsOthersJoin(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	driver, _ := openGroup(t)
	const clients, transactions = 8, 40
	var mu sync.Mutex
	groups := map[*group]bool{}
	var running sync.WaitGroup
	for i := range clients {
		running.Go(func() {
			for j := range transactions {
				c := store(t, driver, fmt.Sprint(i, " ", j))
				c.hasTurn()
				if err := c.tx.Commit(); err != nil {
					t.Error(err)
				}
				mu.Lock()
				groups[c.tx.(*tx).role.(*member).group] = true
				mu.Unlock()
			}
		})
	}
	running.Wait()
	if len(groups) > transactions*5/4 {
		t.Errorf("%d transactions of %d clients were committed in %d groups", clients*transactions, clients, len(groups))
	}
}

func TestRollbackInAGroupIsItsOwn(t *testing.T) {
	driver, _, a, b, c := three(t)
	a.commit()
	b.hasTurn()
	b.rollback()
	c.hasTurn()
	c.commit()
	for _, client := range []*client{a, b, c} {
		if err := <-client.ended; err != nil {
			t.Error(err)
		}
	}
	if got := notes(t, driver); got != "a c" {
		t.Errorf("stored: %q", got)
	}
}

// TestApplicationHasASavepointOfItsOwn leaves one open that has a name one could think of.
func TestApplicationHasASavepointOfItsOwn(t *testing.T) {
	driver, _, a, b, c := three(t)
	a.commit()
	b.hasTurn()
	if err := b.tx.Exec(t.Context(), "SAVEPOINT member", []any{}, nil); err != nil {
		t.Fatal(err)
	}
	b.rollback()
	c.hasTurn()
	c.commit()
	for _, client := range []*client{a, b, c} {
		if err := <-client.ended; err != nil {
			t.Error(err)
		}
	}
	if got := notes(t, driver); got != "a c" {
		t.Errorf("stored: %q", got)
	}
}

// TestLastOfAGroupRollsBack keeps those before it all the same.
func TestLastOfAGroupRollsBack(t *testing.T) {
	driver, _, a, b, c := three(t)
	a.commit()
	b.hasTurn()
	b.commit()
	c.hasTurn()
	if err := c.tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	for _, client := range []*client{a, b} {
		if err := <-client.ended; err != nil {
			t.Error(err)
		}
	}
	if got := notes(t, driver); got != "a b" {
		t.Errorf("stored: %q", got)
	}
}

// TestRollbackOfAReadThatWasUndone has b read what a has stored, and then c end the group. Whatever b was to answer, "there is an
// a already", say, is not true.
func TestRollbackOfAReadThatWasUndone(t *testing.T) {
	driver, _, a, b, c := three(t)
	a.commit()
	b.hasTurn()
	b.rollback()
	c.hasTurn()
	select {
	case err := <-b.ended:
		t.Fatalf("before the commit, b returned %v", err)
	default:
	}
	if err := c.tx.Exec(t.Context(), "INSERT OR ROLLBACK INTO note VALUES ('c')", []any{}, nil); err == nil {
		t.Fatal("the conflict was not noticed")
	}
	c.rollback()
	for _, client := range []*client{a, b} {
		if err := <-client.ended; !IsRepeatable(err) {
			t.Errorf("it returned %v", err)
		}
	}
	<-c.ended
	if got := notes(t, driver); got != "" {
		t.Errorf("stored: %q", got)
	}
}

func TestGroupThatSQLiteEnded(t *testing.T) {
	driver, _, a, b, c := three(t)
	a.commit()
	b.hasTurn()
	if err := b.tx.Exec(t.Context(), "INSERT OR ROLLBACK INTO note VALUES ('a')", []any{}, nil); err == nil {
		t.Fatal("the conflict was not noticed")
	}
	if err := b.tx.Commit(); !errors.Is(err, ErrRolledBack) {
		t.Errorf("b returned %v", err)
	}
	if err := <-a.ended; !errors.Is(err, ErrRolledBack) || !IsRepeatable(err) {
		t.Errorf("a returned %v", err)
	}
	c.hasTurn()
	c.commit()
	if err := <-c.ended; err != nil {
		t.Error(err)
	}
	if got := notes(t, driver); got != "c" {
		t.Errorf("stored: %q", got)
	}
}

// TestSharedCommitFails has one transaction violate a constraint that is checked at COMMIT. Tried again, the others succeed,
// whoever has come in between.
func TestSharedCommitFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver, w := openGroup(t)
		if _, err := driver.ExecContext(t.Context(), "CREATE TABLE child (note TEXT REFERENCES note (value) DEFERRABLE INITIALLY DEFERRED)"); err != nil {
			t.Fatal(err)
		}
		for attempt, repeatable := range []bool{true, false} {
			innocent := store(t, driver, "innocent")
			innocent.hasTurn()
			guilty := store(t, driver, "guilty")
			inQueue(t, w, 1)
			innocent.commit()
			guilty.hasTurn()
			if err := guilty.tx.Exec(t.Context(), "INSERT INTO child VALUES ('nobody')", []any{}, nil); err != nil {
				t.Fatal(err)
			}
			guilty.commit()
			if err := <-guilty.ended; err == nil || IsRepeatable(err) != repeatable {
				t.Errorf("attempt %d: the guilty one returned %v", attempt, err)
			}
			if err := <-innocent.ended; (err != nil) != repeatable || IsRepeatable(err) != repeatable {
				t.Errorf("attempt %d: the innocent one returned %v", attempt, err)
			}
			for i := range 5 {
				other := store(t, driver, fmt.Sprint(attempt*5+i))
				other.hasTurn()
				other.commit()
				if err := <-other.ended; err != nil {
					t.Error(err)
				}
			}
		}
		if got := notes(t, driver); got != "0 1 2 3 4 innocent 5 6 7 8 9" {
			t.Errorf("stored: %q", got)
		}
	})
}

// TestSoloIsJoinedByNobody has two come after a group failed, and then two that may share a commit again.
func TestSoloIsJoinedByNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver, w := openGroup(t)
		w.soloUntil = time.Now().Add(time.Millisecond)
		var clients []*client
		for i, name := range []string{"solo", "solo-too", "first", "second"} {
			if i == 2 {
				time.Sleep(2 * time.Millisecond) // which is not long enough to end a group for its age
			}
			clients = append(clients, store(t, driver, name))
			synctest.Wait()
		}
		for _, solo := range clients[:2] {
			solo.hasTurn()
			solo.commit()
			if err := <-solo.ended; err != nil { // before the others end
				t.Error(err)
			}
		}
		first, second := clients[2], clients[3]
		first.hasTurn()
		first.commit()
		second.hasTurn()
		if got := notes(t, driver); got != "solo solo-too" {
			t.Errorf("stored, before the second has joined the first: %q", got)
		}
		second.commit()
		for _, client := range []*client{first, second} {
			if err := <-client.ended; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestFullGroupCommits while another one waits, and before that one ends.
func TestFullGroupCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver, _ := openGroup(t)
		var clients []*client
		for i := range maxGroup + 1 {
			clients = append(clients, store(t, driver, fmt.Sprint(i)))
			synctest.Wait()
		}
		for _, c := range clients[:maxGroup] {
			c.hasTurn()
			c.commit()
		}
		last := clients[maxGroup]
		last.hasTurn()
		for _, c := range clients[:maxGroup] {
			if err := <-c.ended; err != nil {
				t.Error(err)
			}
		}
		if err := last.tx.Commit(); err != nil {
			t.Error(err)
		}
	})
}

func TestWhoGivesUpLeavesTheQueue(t *testing.T) {
	driver, w := openGroup(t)
	a := store(t, driver, "a")
	a.hasTurn()
	ctx, cancel := context.WithCancel(t.Context())
	impatient, err := driver.Tx(ctx)
	if err != nil {
		t.Fatal(err)
	}
	gaveUp := make(chan error)
	go func() { gaveUp <- impatient.Exec(ctx, "INSERT INTO note VALUES ('impatient')", []any{}, nil) }()
	inQueue(t, w, 1)
	c := store(t, driver, "c")
	inQueue(t, w, 2)
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("it returned %v", err)
	}
	a.commit()
	c.hasTurn()
	c.commit()
	for _, client := range []*client{a, c} {
		if err := <-client.ended; err != nil {
			t.Error(err)
		}
	}
	if got := notes(t, driver); got != "a c" {
		t.Errorf("stored: %q", got)
	}
}

// TestGivingUpWhileTheTurnIsPassed has one give up at the moment at which it would be next. Whoever counted on it to commit
// for both must not be forgotten.
func TestGivingUpWhileTheTurnIsPassed(t *testing.T) {
	driver, w := openGroup(t)
	for round := range 2000 {
		a := store(t, driver, fmt.Sprint(round))
		a.hasTurn()
		ctx, cancel := context.WithCancel(t.Context())
		impatient, err := driver.Tx(ctx)
		if err != nil {
			t.Fatal(err)
		}
		gone := make(chan error, 1)
		go func() {
			err := impatient.Exec(ctx, "INSERT INTO note VALUES ('impatient')", []any{}, nil)
			gone <- errors.Join(err, impatient.Rollback())
		}()
		inQueue(t, w, 1)
		go cancel()
		a.commit()
		select {
		case err := <-a.ended:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("round %d: nobody commits", round)
		}
		if err := <-gone; err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

// TestBeginWhileAnotherProcessWrites fails, and leaves the turn to the next one.
func TestBeginWhileAnotherProcessWrites(t *testing.T) {
	driver, w := openGroup(t)
	if _, err := driver.ExecContext(t.Context(), "PRAGMA busy_timeout = 1"); err != nil {
		t.Fatal(err)
	}
	process, err := Open(t.Context(), w.file.path)
	if err != nil {
		t.Fatal(err)
	}
	defer process.Close()
	other := store(t, process, "other")
	other.hasTurn()
	refused := store(t, driver, "refused")
	for _, err := range []error{<-refused.stored, refused.tx.Commit()} {
		if !IsBusy(err) {
			t.Errorf("while another process writes: %v", err)
		}
	}
	if err := other.tx.Commit(); err != nil {
		t.Error(err)
	}
	write(t, driver, 1)
}

// TestWhoHoldsTheWriterTooLong lets those go on who wait for it. An earlier transaction held it for longer and blocked nobody, and
// then there was none for a while.
func TestWhoHoldsTheWriterTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver, w := openGroup(t)
		before := store(t, driver, "before")
		before.hasTurn()
		time.Sleep(2 * maxHold)
		before.rollback()
		if err := <-before.ended; err != nil {
			t.Error(err)
		}
		time.Sleep(2 * watchPause)
		a := store(t, driver, "a")
		a.hasTurn()
		slow := store(t, driver, "slow")
		inQueue(t, w, 1)
		a.commit()
		slow.hasTurn() // and does nothing more
		if err := <-a.ended; err != nil {
			t.Errorf("the one that waited returned %v", err)
		}
		if err := slow.tx.Exec(t.Context(), "INSERT INTO note VALUES ('late')", []any{}, nil); !errors.Is(err, ErrHeldTooLong) {
			t.Errorf("a late statement: %v", err)
		}
		if err := slow.tx.Commit(); !errors.Is(err, ErrHeldTooLong) {
			t.Errorf("the late commit: %v", err)
		}
		if got := notes(t, driver); got != "a" {
			t.Errorf("stored: %q", got)
		}
	})
}

// TestUnlimitedTransactionIsNotEnded holds the writer for an hour. Another one fails meanwhile.
func TestUnlimitedTransactionIsNotEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		driver, _ := openGroup(t)
		tx, err := driver.Tx(Unlimited(t.Context()))
		if err == nil {
			err = tx.Exec(t.Context(), "INSERT INTO note VALUES ('long')", []any{}, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if err := driver.Exec(t.Context(), "INSERT INTO note VALUES ('other')", []any{}, nil); !IsBusy(err) {
			t.Errorf("another one: %v", err)
		}
		if err := tx.Commit(); err != nil || notes(t, driver) != "long" {
			t.Errorf("stored: %q: %v", notes(t, driver), err)
		}
	})
}

// TestForgottenTransaction has another one come each minute that gives up before the forgotten one is looked at.
func TestForgottenTransaction(t *testing.T) {
	record := func(ctx context.Context, on dialect.ExecQuerier) error {
		return on.Exec(ctx, "INSERT INTO note VALUES ('b')", []any{}, nil)
	}
	for _, outside := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			driver, _ := openGroup(t)
			forgotten := store(t, driver, "a")
			forgotten.hasTurn()
			time.Sleep(time.Second)
			for attempt := range 2 {
				tx, err := driver.Tx(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if outside {
					err = record(t.Context(), driver)
				} else {
					err = record(t.Context(), tx)
				}
				if first := attempt == 0; IsBusy(err) != first || (err != nil) != first {
					t.Errorf("outside %t, attempt %d: %v", outside, attempt, err)
				}
				if err := tx.Rollback(); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Minute - maxWait)
			}
			if err := forgotten.tx.Rollback(); !errors.Is(err, ErrHeldTooLong) {
				t.Errorf("the forgotten one returned %v", err)
			}
		})
	}
}

// TestManyClients has 32 of them number their rows, each by what it reads. All that was acknowledged is there, once, and
// nothing else; and no two have read the same.
func TestManyClients(t *testing.T) {
	driver, _ := openGroup(t)
	if _, err := driver.ExecContext(t.Context(), "CREATE TABLE numbered (n INTEGER, name TEXT UNIQUE)"); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	var clients sync.WaitGroup
	for i := range 32 {
		clients.Go(func() {
			for j := range 100 {
				name := fmt.Sprint(i, " ", j)
				kept, err := number(t.Context(), driver, name)
				if err != nil {
					t.Error(err)
				}
				if kept {
					mu.Lock()
					acknowledged[name] = true
					mu.Unlock()
				}
			}
		})
	}
	clients.Wait()
	rows, err := driver.QueryContext(t.Context(), "SELECT n, name FROM numbered ORDER BY n")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	stored := 0
	for rows.Next() {
		var n int
		var name string
		if err := rows.Scan(&n, &name); err != nil {
			t.Fatal(err)
		}
		if stored++; n != stored || !acknowledged[name] {
			t.Errorf("row %d has the number %d and the name %s, acknowledged %t", stored, n, name, acknowledged[name])
		}
	}
	if err := rows.Err(); err != nil || stored != len(acknowledged) {
		t.Errorf("%d rows, %d acknowledged, %v", stored, len(acknowledged), err)
	}
}

// number stores a row with the next number, and reports whether it has committed it.
func number(ctx context.Context, driver dialect.Driver, name string) (kept bool, err error) {
	tx, err := driver.Tx(ctx)
	if err != nil {
		return false, err
	}
	var rows entsql.Rows
	if err := tx.Query(ctx, "SELECT count(*) + 1 FROM numbered", []any{}, &rows); err != nil {
		return false, errors.Join(err, tx.Rollback())
	}
	n, err := entsql.ScanInt(rows)
	if err != nil {
		return false, errors.Join(err, tx.Rollback())
	}
	if err := tx.Exec(ctx, "INSERT INTO numbered VALUES (?, ?)", []any{n, name}, nil); err != nil {
		return false, errors.Join(err, tx.Rollback())
	}
	if rand.N(4) == 0 {
		return false, tx.Rollback()
	}
	return true, tx.Commit()
}
