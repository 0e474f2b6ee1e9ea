// Package live publishes messages as they are recorded. A [Hub] follows what is committed to the database, by whichever process,
// and hands each message to every subscriber: after its commit, in the order of the book, none twice and none left out.
//
// Each form of a message is encoded once for all. What is kept for subscribers that are a little behind is bounded; those that are
// further behind read the database, in bounded batches, which those at the same place share. How messages
// are encoded and sent, and for how long a subscriber may take, is for others to decide.
package live

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"daybook/ent"
	"daybook/ent/message"
)

// Hub publishes the messages of one database. Use [New].
type Hub struct {
	reader *reader
	log    *slog.Logger
	news   chan struct{} // has one when something may have been committed

	mu          sync.Mutex
	subscribers int
	poller      *poller // runs while there are subscribers
}

// New returns a hub of the client's messages. Errors that no subscriber can be given are logged to log.
func New(client *ent.Client, log *slog.Logger) *Hub {
	return &Hub{reader: newReader(client), log: log, news: make(chan struct{}, 1)}
}

// Notify says that something may have been committed, so that subscribers have it at once. Without it, as when another process
// records, they have it within a second.
func (h *Hub) Notify() {
	select {
	case h.news <- struct{}{}:
	default: // the hub has yet to look for what was said before
	}
}

// Subscribe begins a subscription to the messages after the one with the ID after, or to those that are recorded from now on if
// after is nil. It must be closed.
func (h *Hub) Subscribe(ctx context.Context, after *int) (*Subscriber, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subscribers == 0 {
		poller, err := h.start(ctx)
		if err != nil {
			return nil, fmt.Errorf("subscribe: %w", err)
		}
		h.poller = poller
	}
	h.subscribers++
	s := &Subscriber{hub: h, window: h.poller.window}
	if after != nil {
		s.last = *after
	} else {
		s.last = s.window.newestID()
	}
	return s, nil
}

// start starts a poller, which publishes what is recorded from now on.
func (h *Hub) start(ctx context.Context) (*poller, error) {
	newest, err := h.reader.client.Message.Query().Order(ent.Desc(message.FieldID)).FirstID(ctx)
	if ent.MaskNotFound(err) != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &poller{reader: h.reader, log: h.log, news: h.news, window: newWindow(newest), cancel: cancel}
	p.running.Go(func() { p.run(ctx) })
	return p, nil
}

// leave counts a subscriber less. When it was the last one, nothing reads the database any more.
func (h *Hub) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subscribers--; h.subscribers == 0 {
		h.poller.stop()
		h.poller = nil
	}
}
