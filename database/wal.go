package database

import (
	"context"
	"fmt"
	"os"
	"time"
)

// maxLog is the size in bytes from which on the write-ahead log is in the way.
const maxLog = 64 << 20

// How often the writer looks at the log, and how long it then waits for readers to leave it.
const (
	trimPause = time.Second
	trimWait  = 100 * time.Millisecond
)

// wal is the file to which SQLite appends commits, until it has copied them into the database, every 1000 pages, and no
// reader needs the log any more; then it begins the file anew. Where somebody reads at any moment, that moment never comes
// by itself. So a log that has outgrown maxLog is emptied by the writer, which waits for the readers of then; and a reader
// that has been there for as long as maxHold has to go. That bounds the file: by maxLog, and what is written in maxHold.
type wal struct {
	path   string
	looked time.Time // at its size, by the writer
}

// outgrown reports whether the log is in the way.
func (l *wal) outgrown() bool {
	info, err := os.Stat(l.path)
	return err == nil && info.Size() > maxLog
}

// trim empties a log that has outgrown. It keeps the writer, and nobody else, from going on.
func (w *writer) trim() {
	if time.Since(w.log.looked) < trimPause {
		return
	}
	w.log.looked = time.Now()
	if !w.log.outgrown() {
		return
	}
	ctx := context.Background()
	conn, err := w.pool.take(ctx)
	if err != nil {
		return // it is closed, or in use outside of transactions: the log can wait
	}
	defer w.pool.give(conn)
	// That it cannot be done yet is not an error, and what else there is the next commit will be told.
	_, _ = conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d; PRAGMA wal_checkpoint(TRUNCATE)", trimWait.Milliseconds()))
	_, _ = conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", busyTimeout.Milliseconds()))
}
