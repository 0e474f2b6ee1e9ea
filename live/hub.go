// Package live publishes messages as they are recorded. A [Hub] follows what is committed to the database, by any process, and
// hands each message to every subscriber: after its commit, in the order of the IDs, each once.
//
// A message is read and encoded once for all subscribers that are at the same place. What a subscriber holds in memory is
// limited, and shared. Package live knows no HTTP: the caller encodes the messages, sends them, and decides how slow a
// subscriber may be.
package live

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
	"weak"

	"daybook/ent"
)

// A hub looks for messages when it is notified, and every interval, because another process may record in the same database.
// After each look it pauses, so that messages that come close together are published together.
const (
	pause    = 10 * time.Millisecond
	interval = time.Second
)

// Hub publishes the messages of a database. Use [New].
type Hub struct {
	newestID func(context.Context) (int, error)
	batches  batches
	log      *slog.Logger

	mu          sync.Mutex
	subscribers int
	stop        func()        // stops looking for messages, which the hub does while it has subscribers
	news        chan struct{} // holds one when something may have been committed
	newest      int           // the ID of the newest published message
	changed     chan struct{} // closed when there is a newer one
}

// New returns a hub of the messages in a database. The functions read it: newestID returns the ID of the newest message, or 0;
// after returns the first messages after an ID, as many as a subscriber may hold in memory. The hub logs errors to log.
func New(
	newestID func(context.Context) (int, error),
	after func(ctx context.Context, id int) ([]*ent.Message, error),
	log *slog.Logger,
) *Hub {
	return &Hub{
		newestID: newestID,
		batches:  batches{read: after, held: map[int]weak.Pointer[batch]{}},
		log:      log,
		changed:  make(chan struct{}),
	}
}

// Notify makes the hub look for messages at once. Without it, as when another process records, that takes up to a second.
func (h *Hub) Notify() {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case h.news <- struct{}{}:
	default: // nobody looks, or has not yet looked since the last time
	}
}

// Now subscribes to the messages that are recorded from now on.
const Now = -1

// Subscribe subscribes to the messages after the one with the ID after, or to those from [Now] on. The subscriber must be closed.
func (h *Hub) Subscribe(ctx context.Context, after int) (*Subscriber, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subscribers == 0 {
		newest, err := h.newestID(ctx)
		if err != nil {
			return nil, fmt.Errorf("subscribe: %w", err)
		}
		h.newest = newest
		h.start()
	}
	h.subscribers++
	if after == Now {
		after = h.newest
	}
	return &Subscriber{hub: h, last: after}, nil
}

// start begins to look for messages. The caller holds mu.
func (h *Hub) start() {
	ctx, cancel := context.WithCancel(context.Background())
	news := make(chan struct{}, 1) // a new one, since the poller before may still take from the old one
	var polling sync.WaitGroup
	polling.Go(func() { h.poll(ctx, news) })
	h.news = news
	h.stop = func() {
		cancel()
		polling.Wait()
	}
}

// leave removes a subscriber. With the last one, the hub stops looking for messages.
func (h *Hub) leave() {
	h.mu.Lock()
	h.subscribers--
	last, stop := h.subscribers == 0, h.stop
	h.mu.Unlock()
	if last {
		stop()
	}
}

// poll publishes messages until ctx ends.
func (h *Hub) poll(ctx context.Context, news <-chan struct{}) {
	for ctx.Err() == nil {
		newest, err := h.newestID(ctx)
		if err == nil {
			h.publish(newest)
		} else if ctx.Err() == nil {
			h.log.LogAttrs(ctx, slog.LevelError, "live", slog.Any("error", err))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		select {
		case <-news:
		case <-time.After(interval):
		case <-ctx.Done():
		}
	}
}

// publish wakes the subscribers if there are newer messages.
func (h *Hub) publish(newest int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if newest > h.newest {
		h.newest = newest
		close(h.changed)
		h.changed = make(chan struct{})
	}
}
