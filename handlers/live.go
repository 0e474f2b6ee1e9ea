package handlers

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"daybook/ent"
	"daybook/views"
)

// live looks for messages when it is told that there may be some, and every longest, because another process may record in the
// same database; after each look it pauses for shortest, so that many messages are told at once. Streams in which nothing happens
// get a heartbeat.
const (
	shortest  = 10 * time.Millisecond
	longest   = time.Second
	heartbeat = 15 * time.Second
)

// What live keeps in memory for those who are a little behind. Who is further behind reads the database.
const (
	maxRecent     = 1000
	maxRecentSize = 1 << 20 // bytes of their text
)

// live tells those who listen what has been recorded. One goroutine looks into the database, for as long as somebody listens: so
// a message is told after its commit, in the order of the book, whoever recorded it, and it is read and encoded once for all.
type live struct {
	client *ent.Client
	log    *slog.Logger
	zone   *time.Location
	news   chan struct{}   // something may have been committed
	over   context.Context // ends when the server shuts down

	mu        sync.Mutex
	listeners int
	stop      context.CancelFunc // of the goroutine
	wake      chan struct{}      // closed, and made anew, when listeners have something to do
	newest    int                // the number of the newest message that was told
	recent    []*moment          // the newest ones, in order
	size      int                // of them
	forgotten int                // the number of the newest message that is not among them
}

func newLive(over context.Context, client *ent.Client, log *slog.Logger, zone *time.Location) *live {
	return &live{client: client, log: log, zone: zone, news: make(chan struct{}, 1), over: over}
}

// moment is a message that is told to many.
type moment struct {
	*ent.Message
	text, json, html func() []byte // encode it when somebody first wants it so
}

func (l *live) newMoment(m *ent.Message) *moment {
	view := views.Message{Message: m, Zone: l.zone}
	return &moment{
		Message: m,
		text:    sync.OnceValue(func() []byte { return view.AppendText(nil) }),
		json:    sync.OnceValue(func() []byte { return append(view.AppendJSON(nil), '\n') }),
		html:    sync.OnceValue(view.Event),
	}
}

// in returns the message in the format.
func (m *moment) in(format format) []byte {
	switch format {
	case events:
		return m.html()
	case ndjson:
		return m.json()
	}
	return m.text()
}

// tell says that something may have been committed.
func (l *live) tell() {
	select {
	case l.news <- struct{}{}:
	default: // it has been said already
	}
}

// join adds a listener, and returns the number of the newest message that it will not be told of.
func (l *live) join(ctx context.Context) (newest int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listeners == 0 {
		newest, err := everything.query(l.client, newestFirst).FirstID(ctx)
		if ent.MaskNotFound(err) != nil {
			return 0, err
		}
		l.newest, l.forgotten, l.recent, l.size = newest, newest, nil, 0
		l.wake = make(chan struct{})
		ctx, l.stop = context.WithCancel(l.over)
		go l.run(ctx)
	}
	l.listeners++
	return l.newest, nil
}

// leave removes a listener.
func (l *live) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listeners--; l.listeners == 0 {
		l.stop()
	}
}

// run tells messages until its context ends.
func (l *live) run(ctx context.Context) {
	for woken := time.Now(); ctx.Err() == nil; {
		found, more, err := l.read(ctx, l.told())
		if err != nil {
			l.fail(ctx, err)
		}
		if len(found) > 0 || time.Since(woken) >= heartbeat {
			l.add(ctx, found)
			woken = time.Now()
		}
		if more {
			continue
		}
		time.Sleep(shortest)
		select {
		case <-l.news:
		case <-time.After(longest):
		case <-ctx.Done():
		}
	}
}

// fail logs an error, unless it is that nobody listens any more, or the server shuts down.
func (l *live) fail(ctx context.Context, err error) {
	if ctx.Err() == nil {
		l.log.LogAttrs(ctx, slog.LevelError, "live", slog.Any("error", err))
	}
}

// told returns the number of the newest message that was told.
func (l *live) told() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest
}

// How many messages are told at a time, at most.
const (
	batch     = 100
	batchSize = 1 << 20 // bytes of their text: with these there are enough
)

// read reads the first messages after the one with the number last, and reports whether there may be more.
func (l *live) read(ctx context.Context, last int) (found []*moment, more bool, err error) {
	size := 0
	for m, err := range (span{last + 1, everything.last}).rows(ctx, l.client, oldestFirst) {
		if err != nil {
			return nil, false, err
		}
		found = append(found, l.newMoment(m))
		if size += len(m.Value); len(found) == batch || size >= batchSize {
			return found, true, nil
		}
	}
	return found, false, nil
}

// add wakes the listeners, for what has been found or for a heartbeat.
func (l *live) add(ctx context.Context, found []*moment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil {
		return // the last listener has left, and others may have begun anew
	}
	for _, m := range found {
		l.recent = append(l.recent, m)
		l.newest = m.ID
		l.size += len(m.Value)
	}
	drop := 0
	for ; len(l.recent)-drop > maxRecent || l.size > maxRecentSize; drop++ {
		l.forgotten = l.recent[drop].ID
		l.size -= len(l.recent[drop].Value)
	}
	l.recent = slices.Delete(l.recent, 0, drop)
	close(l.wake)
	l.wake = make(chan struct{})
}

// since returns the first messages after the one with the number last. If there are none, wake is closed when there may be some,
// or it is time for a heartbeat.
func (l *live) since(ctx context.Context, last int) (found []*moment, wake <-chan struct{}, err error) {
	found, wake, ok := l.recently(last)
	if !ok {
		found, _, err = l.read(ctx, last)
	}
	return found, wake, err
}

// recently is since, as far as memory goes, and reports whether that is far enough.
func (l *live) recently(last int) (found []*moment, wake <-chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last >= l.newest {
		return nil, l.wake, true
	}
	if last < l.forgotten {
		return nil, l.wake, false // there are some, unless they have been dropped from the book
	}
	i, _ := slices.BinarySearchFunc(l.recent, last+1, func(m *moment, id int) int { return m.ID - id })
	return slices.Clone(l.recent[i:min(i+batch, len(l.recent))]), l.wake, true
}
