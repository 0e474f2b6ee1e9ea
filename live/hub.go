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
	"daybook/ent/message"
)

// A hub looks for messages when it is notified, and every interval, because another process may record in the same database.
// After each look it pauses, so that messages that come close together are published together.
const (
	pause    = 10 * time.Millisecond
	interval = time.Second
)

// Hub publishes the messages of a database. Use [New].
type Hub struct {
	client    *ent.Client
	log       *slog.Logger
	news      chan struct{} // holds one when something may have been committed
	published published
	batches   batches

	mu          sync.Mutex
	subscribers int
	stop        func() // stops looking for messages, which the hub does while it has subscribers
}

// published is how far the hub has published.
type published struct {
	mu      sync.Mutex
	newest  int           // the ID of the newest message
	changed chan struct{} // closed when there is a newer one
}

func (p *published) get() (newest int, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.newest, p.changed
}

func (p *published) set(newest int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if newest > p.newest {
		p.newest = newest
		close(p.changed)
		p.changed = make(chan struct{})
	}
}

// New returns a hub of the client's messages. It logs errors to log.
func New(client *ent.Client, log *slog.Logger) *Hub {
	return &Hub{
		client:    client,
		log:       log,
		news:      make(chan struct{}, 1),
		published: published{changed: make(chan struct{})},
		batches:   batches{held: map[int]weak.Pointer[batch]{}},
	}
}

// Notify makes the hub look for messages at once. Without it, as when another process records, that takes up to a second.
func (h *Hub) Notify() {
	select {
	case h.news <- struct{}{}:
	default: // the hub has not looked yet since the last time
	}
}

// Now subscribes to the messages that are recorded from now on.
const Now = -1

// Subscribe subscribes to the messages after the one with the ID after, or to those from [Now] on. The subscriber must be closed.
func (h *Hub) Subscribe(ctx context.Context, after int) (*Subscriber, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subscribers == 0 {
		if err := h.start(ctx); err != nil {
			return nil, fmt.Errorf("subscribe: %w", err)
		}
	}
	h.subscribers++
	if after == Now {
		after, _ = h.published.get()
	}
	return &Subscriber{hub: h, last: after}, nil
}

// start begins to look for messages. The caller holds mu.
func (h *Hub) start(ctx context.Context) error {
	if err := h.look(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var polling sync.WaitGroup
	polling.Go(func() { h.poll(ctx) })
	h.stop = func() {
		cancel()
		polling.Wait() // or it could take a notification that is for the next one
	}
	return nil
}

// leave removes a subscriber. With the last one, the hub stops looking for messages.
func (h *Hub) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subscribers--; h.subscribers == 0 {
		h.stop()
	}
}

// poll publishes messages until ctx ends.
func (h *Hub) poll(ctx context.Context) {
	for ctx.Err() == nil {
		if err := h.look(ctx); err != nil && ctx.Err() == nil {
			h.log.LogAttrs(ctx, slog.LevelError, "live", slog.Any("error", err))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		select {
		case <-h.news:
		case <-time.After(interval):
		case <-ctx.Done():
		}
	}
}

// look publishes what has been committed.
func (h *Hub) look(ctx context.Context) error {
	newest, err := h.client.Message.Query().Order(ent.Desc(message.FieldID)).FirstID(ctx)
	if ent.MaskNotFound(err) != nil {
		return err
	}
	h.published.set(newest)
	return nil
}
