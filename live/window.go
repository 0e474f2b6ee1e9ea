package live

import (
	"slices"
	"sync"
)

// What a window keeps. A subscriber that is further behind reads the database.
const (
	maxWindow     = 1000    // messages
	maxWindowSize = 1 << 20 // bytes of their text
)

// window is the messages that were published last, for the subscribers that keep up.
type window struct {
	mu       sync.Mutex
	messages []*Message // in order
	size     int        // bytes of their text
	newest   int        // the ID of the message that was published last
	before   int        // the ID of the last message before those in the window
	changed  chan struct{}
}

// newWindow returns a window that begins after the message with the ID newest.
func newWindow(newest int) *window {
	return &window{newest: newest, before: newest, changed: make(chan struct{})}
}

// newestID returns the ID of the message that was published last.
func (w *window) newestID() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.newest
}

// publish adds messages, drops the oldest ones that have no room any more, and wakes who waits for a change.
func (w *window) publish(messages []*Message) {
	if len(messages) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.messages = append(w.messages, messages...)
	w.newest = messages[len(messages)-1].ID
	for _, m := range messages {
		w.size += len(m.Value)
	}
	drop := 0
	for ; len(w.messages)-drop > maxWindow || w.size > maxWindowSize; drop++ {
		w.before = w.messages[drop].ID
		w.size -= len(w.messages[drop].Value)
	}
	w.messages = slices.Delete(w.messages, 0, drop)
	close(w.changed)
	w.changed = make(chan struct{})
}

// after returns the first messages after the one with the ID last, or reports that they are not in the window. If there are
// none, changed is closed when there may be.
func (w *window) after(last int) (found *batch, changed <-chan struct{}, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	found = new(batch)
	if last >= w.newest {
		return found, w.changed, true
	}
	if last < w.before {
		return nil, w.changed, false // there are some, unless they have been removed
	}
	first, _ := slices.BinarySearchFunc(w.messages, last+1, func(m *Message, id int) int { return m.ID - id })
	for _, m := range w.messages[first:] {
		if found.add(m); found.full() {
			break
		}
	}
	return found, w.changed, true
}
