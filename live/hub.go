// Package live publishes messages as they are recorded. A [Hub] follows what is committed to the database, by any process, and
// hands each message to every subscriber: after its commit, in the order of the IDs, each once. The removal of a message has an ID,
// too, and comes after the message. A message is not handed out after its removal was published.
//
// A message is read and encoded once for all subscribers that are at the same place. Package live knows no HTTP and no SQL: the
// caller reads, encodes and sends the messages, and decides how slow a subscriber may be.
package live

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"daybook/ent"
)

// A hub looks for messages when it is notified, when another process announces some, and every interval, because an announcement
// may be lost. On SQLite processes announce nothing.
// After each look it pauses, so that messages that come close together are published together.
const (
	pause    = 10 * time.Millisecond
	interval = time.Second
)

// Source is the database that a hub reads.
type Source struct {
	// NewestID returns the ID of the newest message or removal, or 0. None with an ID up to that may appear later.
	NewestID func(context.Context) (int, error)

	// After returns the first messages and removals after an ID, up to another: as many as a subscriber may hold in memory.
	After func(ctx context.Context, id, upTo int) ([]*ent.Message, error)

	// Removes reports whether there are removals after an ID, up to another.
	Removes func(ctx context.Context, id, upTo int) (bool, error)

	// Listen calls changed when another process may have recorded. It returns when ctx ends, or with an error.
	Listen func(ctx context.Context, changed func()) error

	// Announce makes the Listen of other processes call changed.
	Announce func(context.Context) error
}

// Hub publishes the messages of a database. Use [New].
type Hub struct {
	ctx     context.Context // ends with the program
	source  Source
	batches batches
	log     *slog.Logger

	subscribers atomic.Int32 // changes while mu is held

	mu          sync.Mutex
	stop        func()        // stops looking for messages, which the hub does while it has subscribers
	news        chan struct{} // holds one when something may have been committed
	newest      int           // the ID of the newest published message
	unannounced bool          // something was recorded that other processes do not know of
	announcing  bool          // announce runs
	changed     chan struct{} // closed when there is a newer one
}

// New returns a hub of the messages of a source. It logs errors to log. After ctx has ended, it announces nothing.
func New(ctx context.Context, source Source, log *slog.Logger) *Hub {
	return &Hub{
		ctx:     ctx,
		source:  source,
		batches: batches{read: source.After, known: map[place]weak.Pointer[batch]{}},
		log:     log,
		changed: make(chan struct{}),
	}
}

// Notify says that messages have been recorded or removed: the hub looks at once, and announces it to other processes. What comes
// close together is announced together.
func (h *Hub) Notify() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.look()
	h.unannounced = true
	if !h.announcing {
		h.announcing = true
		go h.announce()
	}
}

// Forget makes the subscribers read anew what others have read before. Call it after a message was removed.
func (h *Hub) Forget() { h.batches.forgetAll() }

// look makes the hub look for messages, if it has subscribers. The caller holds mu.
func (h *Hub) look() {
	select {
	case h.news <- struct{}{}:
	default: // nobody looks, or has not yet looked since the last time
	}
}

// announce announces until there is nothing new.
func (h *Hub) announce() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.unannounced && h.ctx.Err() == nil {
		h.unannounced = false
		h.mu.Unlock()
		h.logError(h.ctx, h.source.Announce(h.ctx))
		rest(h.ctx, pause, nil)
		h.mu.Lock()
	}
	h.announcing = false
}

// logError logs an error, unless the reason is that ctx has ended.
func (h *Hub) logError(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		h.log.LogAttrs(ctx, slog.LevelError, "live", slog.Any("error", err))
	}
}

// rest returns after a time, or earlier when there are news or ctx ends.
func rest(ctx context.Context, d time.Duration, news <-chan struct{}) {
	select {
	case <-news:
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// Now subscribes to the messages that are recorded from now on.
const Now = -1

// Subscribe subscribes to the messages after the one with the ID after, or to those from [Now] on. The subscriber must be closed.
func (h *Hub) Subscribe(ctx context.Context, after int, encoder Encoder) (*Subscriber, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subscribers.Load() == 0 {
		newest, err := h.source.NewestID(ctx)
		if err != nil {
			return nil, fmt.Errorf("subscribe: %w", err)
		}
		h.Forget() // nobody has looked for removals
		h.newest = newest
		h.start()
	}
	h.subscribers.Add(1)
	if after == Now {
		after = h.newest
	}
	return &Subscriber{hub: h, encoder: encoder, last: after}, nil
}

// Subscribers returns how many there are. It waits for nothing, unlike Subscribe, which may wait for the database.
func (h *Hub) Subscribers() int { return int(h.subscribers.Load()) }

// start begins to look for messages. The caller holds mu.
func (h *Hub) start() {
	ctx, cancel := context.WithCancel(context.Background())
	news := make(chan struct{}, 1) // a new one, since the poller before may still take from the old one
	var polling sync.WaitGroup
	polling.Go(func() { h.poll(ctx, news) })
	polling.Go(func() { h.listen(ctx) })
	h.news = news
	h.stop = func() {
		cancel()
		polling.Wait()
	}
}

// leave removes a subscriber. With the last one, the hub stops looking for messages.
func (h *Hub) leave() {
	h.mu.Lock()
	last, stop := h.subscribers.Add(-1) == 0, h.stop
	h.mu.Unlock()
	if last {
		stop()
	}
}

// poll publishes messages until ctx ends.
func (h *Hub) poll(ctx context.Context, news <-chan struct{}) {
	for ctx.Err() == nil {
		h.logError(ctx, h.publish(ctx))
		rest(ctx, pause, nil)
		rest(ctx, interval, news)
	}
}

// listen makes the hub look when another process has recorded, until ctx ends.
func (h *Hub) listen(ctx context.Context) {
	for ctx.Err() == nil {
		err := h.source.Listen(ctx, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.look()
		})
		h.logError(ctx, err)
		rest(ctx, interval, nil)
	}
}

// publish wakes the subscribers if there are newer messages.
func (h *Hub) publish(ctx context.Context) error {
	newest, err := h.source.NewestID(ctx)
	h.mu.Lock()
	published := h.newest
	h.mu.Unlock()
	if err != nil || newest <= published {
		return err
	}
	removes, err := h.source.Removes(ctx, published, newest)
	if err != nil {
		return err
	}
	if removes { // by another process, perhaps
		h.Forget()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.newest = max(h.newest, newest) // another poller may still run
	close(h.changed)
	h.changed = make(chan struct{})
	return nil
}

// Encoder appends a message or a removal in a format, which has a name. It may append nothing.
type Encoder struct {
	Format string
	Append func(dst []byte, m *ent.Message) []byte
}

// Subscriber receives the messages that a [Hub] publishes, encoded, at its own pace. Only one goroutine may use it.
type Subscriber struct {
	hub     *Hub
	encoder Encoder
	last    int    // the ID of the last message that it received
	held    *batch // what it received last, which others share for as long as it holds it
}

// Next returns the next messages. They are valid until the next call, so that a subscriber has only one batch in memory. If there
// are none, changed is closed when there may be.
func (s *Subscriber) Next(ctx context.Context) (next []byte, changed <-chan struct{}, err error) {
	s.held = nil
	s.hub.mu.Lock()
	newest, changed := s.hub.newest, s.hub.changed
	s.hub.mu.Unlock()
	for s.last < newest && len(next) == 0 {
		if s.held, err = s.hub.batches.after(ctx, s.last, newest, s.encoder); err != nil {
			return nil, nil, err
		}
		next, s.last = s.held.encoded, s.held.last
	}
	return next, changed, nil
}

// Close ends the subscription.
func (s *Subscriber) Close() { s.hub.leave() }

// batch is encoded messages.
type batch struct {
	encoded []byte
	last    int // the ID of the last message
}

// place is where a batch begins, and its format.
type place struct {
	after  int
	format string
}

// maxRecent is how many bytes of batches are kept for subscribers that may come to the same place.
const maxRecent = 1 << 20

// batches are those that were read last, and those that any subscriber holds. Subscribers at the same place share one: those that
// are up to date, and those that stopped reading there. The messages themselves are not kept.
type batches struct {
	read func(ctx context.Context, after, upTo int) ([]*ent.Message, error)

	mu     sync.Mutex
	known  map[place]weak.Pointer[batch]
	recent []*batch
	size   int // bytes of the recent ones
}

// after returns messages after the one with the ID last, up to the newest. Subscribers read the database one at a time: the first
// one reads for the others.
func (b *batches) after(ctx context.Context, last, newest int, encoder Encoder) (*batch, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	here := place{last, encoder.Format}
	if held := b.known[here].Value(); held != nil {
		return held, nil
	}
	messages, err := b.read(ctx, last, newest)
	read := &batch{last: newest} // if there are none
	for _, m := range messages {
		read.encoded, read.last = encoder.Append(read.encoded, m), m.ID
	}
	if len(messages) > 0 {
		b.known[here] = weak.Make(read)
		runtime.AddCleanup(read, b.forget, here)
		b.keep(read)
	}
	return read, err
}

// keep keeps a batch for those that come to its place soon, in place of older ones. A large one would take the place of many,
// and an empty one would take none and so stay.
func (b *batches) keep(read *batch) {
	if len(read.encoded) == 0 || len(read.encoded) > maxRecent/64 {
		return
	}
	b.recent = append(b.recent, read)
	for b.size += len(read.encoded); b.size > maxRecent; b.recent = slices.Delete(b.recent, 0, 1) {
		b.size -= len(b.recent[0].encoded)
	}
}

// forgetAll lets nobody share a batch that was read before. It waits for one that is being read.
func (b *batches) forgetAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.known)
	b.recent, b.size = nil, 0
}

// forget removes the pointer to a batch that nobody holds, unless it has been read again.
func (b *batches) forget(here place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.known[here].Value() == nil {
		delete(b.known, here)
	}
}
