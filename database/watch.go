package database

import (
	"sync"
	"time"
)

// maxHold is how long a transaction may block others: a writer those who wait for their turn or their commit, a reader those
// who wait for a connection, or the emptying of the write-ahead log.
const maxHold = 10 * time.Second

// watchPause is how often that is looked at.
const watchPause = time.Second

// watch ends transactions that block others for too long. It looks at all of them once a second: for the reason that readers
// tells, none has a timer of its own.
type watch struct {
	mu    sync.Mutex
	open  map[*tx]time.Time // and since when
	timer *time.Timer       // nil while none is open
}

func (w *watch) add(t *tx) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[t] = time.Now()
	if w.timer == nil {
		w.timer = time.AfterFunc(watchPause, w.look)
	}
}

func (w *watch) remove(t *tx) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, t)
}

// look ends those that have been open for too long.
func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for t, since := range w.open {
		if time.Since(since) >= maxHold {
			go t.expire()
		}
	}
	if len(w.open) == 0 {
		w.timer = nil
		return
	}
	w.timer.Reset(watchPause)
}

// expireReaders ends those that read, however long they have been open.
func (w *watch) expireReaders() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for t := range w.open {
		if !t.writing {
			go t.expire()
		}
	}
}

// stop ends the watch.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
	clear(w.open)
}
