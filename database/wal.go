package database

import (
	"context"
	"fmt"
	"time"
)

// maxLog is the size in bytes from which on the write-ahead log is to be emptied. At hardLog it is emptied whoever reads.
const (
	maxLog  = 64 << 20
	hardLog = 4 * maxLog
)

// How often the writer tries to empty the log, and how long it waits for readers to leave it.
const (
	trimPause = time.Second
	trimWait  = 100 * time.Millisecond
)

// wal is the file to which SQLite appends commits, until it has copied them into the database, every 1000 pages, and no
// reader needs the log any more; then it begins the file anew. Where transactions that read overlap, that moment never comes
// by itself. So the writer empties a log larger than maxLog, for which it waits a moment for the readers of then. If they stay
// longer, at hardLog it ends them, and new ones wait until it is done. That bounds the file, whoever reads.
type wal struct {
	path      string
	max, hard int64     // maxLog and hardLog
	tried     time.Time // to empty it
}

// outgrown reports whether the log is to be emptied.
func (l *wal) outgrown() bool {
	_, size, err := identify(l.path)
	return err == nil && size > l.max
}

// trim empties the log, of the given size, if it has outgrown. The caller has the turn, so that nobody writes meanwhile.
func (w *writer) trim(size int64) {
	if size <= w.log.max || time.Since(w.log.tried) < trimPause {
		return
	}
	w.log.tried = time.Now()
	if size > w.log.hard {
		places := w.endReaders()
		defer w.readers.giveBack(places)
	}
	// If it cannot be done yet, the next commit tries again; any other error is one that the next commit meets as well.
	ctx, conn := context.Background(), w.session.conn
	_, _ = conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d; PRAGMA wal_checkpoint(TRUNCATE)", trimWait.Milliseconds()))
	_, _ = conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", busyTimeout.Milliseconds()))
}

// endReaders ends the transactions that read, those that do not end by themselves in a moment, and keeps new ones waiting
// until the places that it returns are given back.
func (w *writer) endReaders() (places int) {
	if places = w.readers.takePlaces(0, trimWait); places < cap(w.readers.places) {
		w.watch.expireReaders()
		places = w.readers.takePlaces(places, trimWait)
	}
	return places
}
