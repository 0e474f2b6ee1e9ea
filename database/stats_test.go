package database

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

// commits collects what an observer is told.
type commits chan int

func observed(driver *sqliteDriver) commits {
	seen := make(commits, 9)
	ObserveCommits(driver, func(transactions int, took time.Duration) {
		if took <= 0 {
			transactions = -1
		}
		seen <- transactions
	})
	return seen
}

// TestObserverIsToldOfEachGroup has a group of three, of which one rolls back, and then a transaction that is alone.
func TestObserverIsToldOfEachGroup(t *testing.T) {
	driver, _, a, b, c := three(t)
	seen := observed(driver)
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
	d := store(t, driver, "d")
	d.hasTurn()
	d.commit()
	if err := <-d.ended; err != nil {
		t.Error(err)
	}
	if first, second := <-seen, <-seen; first != 2 || second != 1 {
		t.Errorf("told of %d and %d transactions, want 2 and 1", first, second)
	}
}

// TestObserverIsNotToldOfWhatIsNotKept has groups that are rolled back, or whose COMMIT fails.
func TestObserverIsNotToldOfWhatIsNotKept(t *testing.T) {
	driver, w := openGroup(t)
	seen := observed(driver)
	a := store(t, driver, "a")
	a.hasTurn()
	a.rollback()
	if err := <-a.ended; err != nil {
		t.Error(err)
	}
	if err := os.Remove(w.file.path); err != nil {
		t.Fatal(err)
	}
	b := store(t, driver, "b")
	b.hasTurn()
	b.commit()
	if err := <-b.ended; !errors.Is(err, ErrFileReplaced) {
		t.Error(err)
	}
	if len(seen) > 0 {
		t.Errorf("told of %d", <-seen)
	}
}

// TestObserverDoesNotHoldUpOthers has one that does not return while another transaction begins and commits.
func TestObserverDoesNotHoldUpOthers(t *testing.T) {
	driver, _ := openGroup(t)
	release, slow := make(chan struct{}), make(chan struct{}, 9)
	ObserveCommits(driver, func(int, time.Duration) {
		slow <- struct{}{}
		<-release
	})
	a := store(t, driver, "a")
	a.hasTurn()
	a.commit()
	<-slow
	b := store(t, driver, "b")
	b.hasTurn()
	b.commit()
	<-slow // so b has committed
	if got := notes(t, driver); got != "a b" {
		t.Errorf("stored: %q", got)
	}
	close(release)
	for _, client := range []*client{a, b} {
		if err := <-client.ended; err != nil {
			t.Error(err)
		}
	}
}

// TestStatsAndPingDoNotWaitForTheWriter has one transaction that writes and two that wait.
func TestStatsAndPingDoNotWaitForTheWriter(t *testing.T) {
	driver, w, a, b, c := three(t)
	ctx, cancel := context.WithTimeout(t.Context(), maxWait/2) // after maxWait, b would be refused
	defer cancel()
	if err := Ping(ctx, driver); err != nil {
		t.Error(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Ping(cancelled, driver); !errors.Is(err, context.Canceled) {
		t.Errorf("a ping that was given up: %v", err)
	}
	free := func() bool { return len(driver.readers.free) == cap(driver.readers.free) }
	wait(t, "the ping gives its connection back", free)
	stats, err := Stats(ctx, driver)
	if want := (Statistics{stats.Size, stats.LogSize, 1, cap(driver.readers.free) + 1, 2}); stats != want || err != nil {
		t.Errorf("%+v, %v, want %+v", stats, err, want)
	}
	info, err := os.Stat(w.file.path)
	if err != nil || stats.Size != info.Size() || stats.LogSize != logSize(t, w) {
		t.Errorf("%+v, the file has %v, %v", stats, info.Size(), err)
	}
	a.rollback()
	for _, client := range []*client{b, c} {
		client.hasTurn()
		client.rollback()
	}
	for _, client := range []*client{a, b, c} {
		if err := <-client.ended; err != nil {
			t.Error(err)
		}
	}
}

// TestPingNoticesAFileThatIsReplaced without a writer having noticed it, and after one has: then it is no help that the file is back.
func TestPingNoticesAFileThatIsReplaced(t *testing.T) {
	driver, w := openGroup(t)
	path, away := w.file.path, w.file.path+".away"
	rename := func(from, to string) {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	ping := func(want error) {
		t.Helper()
		_, statsErr := Stats(t.Context(), driver)
		if err := Ping(t.Context(), driver); !errors.Is(err, want) || !errors.Is(statsErr, want) {
			t.Errorf("got %v and %v, want %v", err, statsErr, want)
		}
	}
	ping(nil)
	rename(path, away)
	ping(ErrFileReplaced)
	rename(away, path)
	ping(nil)
	rename(path, away)
	if _, err := driver.ExecContext(t.Context(), "INSERT INTO note VALUES ('a')"); !errors.Is(err, ErrFileReplaced) {
		t.Error(err)
	}
	rename(away, path)
	ping(ErrFileReplaced)
}
