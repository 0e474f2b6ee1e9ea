package live_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"daybook/database/databasetest"
	"daybook/live"
)

// counted is a book whose hub counts what it is told by other processes, and what it tells them.
type counted struct {
	*book
	changed, announced atomic.Int32
}

// openCounted opens the book in the database at url, as a process of its own.
func openCounted(t *testing.T, url string) *counted {
	t.Helper()
	c := &counted{book: openAt(t, url)}
	c.hub = live.New(t.Context(), live.Source{
		NewestID: c.newestID,
		After:    c.after,
		Removes:  c.removes,
		Listen: func(ctx context.Context, changed func()) error {
			return c.listen(ctx, func() {
				changed()
				c.changed.Add(1)
			})
		},
		Announce: func(ctx context.Context) error {
			c.announced.Add(1)
			return c.announce(ctx)
		},
	}, slog.New(slog.DiscardHandler))
	return c
}

// twoProcesses opens two books in one database. The second one has a subscriber, and listens.
func twoProcesses(t *testing.T) (one, other *counted, s *live.Subscriber) {
	t.Helper()
	if !databasetest.Postgres() {
		t.Skip("on SQLite processes announce nothing")
	}
	url := databasetest.New(t)
	one, other = openCounted(t, url), openCounted(t, url)
	s = other.subscribe()
	t.Cleanup(s.Close)
	waitFor(t, "the other one listens", func() bool { return other.changed.Load() > 0 })
	return one, other, s
}

func waitFor(t *testing.T, what string, true func() bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !true(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("it does not come true that %s", what)
		}
	}
}

// TestMessageIsAnnouncedToOtherProcesses compares with the second for which a hub rests that is told of nothing.
func TestMessageIsAnnouncedToOtherProcesses(t *testing.T) {
	one, other, s := twoProcesses(t)
	var took []time.Duration
	for id := 1; id <= 10; id++ {
		told, begun := other.changed.Load(), time.Now()
		one.record(fmt.Sprint(id))
		one.hub.Notify()
		other.expect(s, id, id)
		took = append(took, time.Since(begun))
		waitFor(t, "the other one is told", func() bool { return other.changed.Load() > told })
	}
	if slices.Sort(took); took[5] > 500*time.Millisecond {
		t.Errorf("the messages come after %s", took)
	}
}

// TestAnnouncementsAreFewerThanMessages notifies a hub as a busy server does.
func TestAnnouncementsAreFewerThanMessages(t *testing.T) {
	one, other, s := twoProcesses(t)
	const notified = 1000
	one.record("hello")
	for range notified {
		one.hub.Notify()
	}
	other.expect(s, 1, 1)
	one.record("the last one")
	one.hub.Notify()
	other.expect(s, 2, 2)
	if n := one.announced.Load(); n == 0 || n > notified/10 {
		t.Errorf("%d announcements of %d messages", n, notified)
	}
}

// TestHubListensAgain has the server end the connection on which a hub listens, again and again, while messages are recorded.
func TestHubListensAgain(t *testing.T) {
	one, other, s := twoProcesses(t)
	for id := 1; id <= 30; id++ {
		told, begun := other.changed.Load(), time.Now()
		lost := id%10 == 5
		if lost {
			one.exec("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'")
		}
		one.record(fmt.Sprint(id))
		one.hub.Notify()
		other.expect(s, id, id)
		waitFor(t, "the other one is told, or listens again", func() bool { return other.changed.Load() > told })
		if took := time.Since(begun); !lost && took > 900*time.Millisecond {
			t.Errorf("message %d comes after %s", id, took)
		}
	}
}

// TestHubLeavesNoGoroutine looks at once after the last subscriber has left, and when what was recorded has been announced.
func TestHubLeavesNoGoroutine(t *testing.T) {
	b := open(t)
	for range 3 {
		s := b.subscribe()
		b.record("hello")
		b.hub.Notify()
		b.next(s)
		s.Close()
		if stacks := goroutines(); bytes.Contains(stacks, []byte("(*Hub).poll")) || bytes.Contains(stacks, []byte("(*Hub).listen")) {
			t.Fatalf("there is no subscriber any more, and there are\n%s", stacks)
		}
	}
	waitFor(t, "nobody announces", func() bool { return !bytes.Contains(goroutines(), []byte("(*Hub).")) })
}

// goroutines returns the stacks of all goroutines.
func goroutines() []byte {
	stacks := make([]byte, 1<<20)
	return stacks[:runtime.Stack(stacks, true)]
}
