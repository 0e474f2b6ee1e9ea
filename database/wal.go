package database

import (
	"context"
	"fmt"
	"os"
	"time"
)

// maxLog is the size in bytes from which on the write-ahead log is in the way.
const maxLog = 64 << 20

// How long the writer waits for readers to leave the log, and how often it tries.
const (
	trimWait  = 100 * time.Millisecond
	trimPause = time.Second
)

// wal is the file to which SQLite appends commits, until it has copied them into the database, every 1000 pages, and no
// reader needs the log any more; then it begins the file anew. Where somebody reads at any moment, that moment never comes
// by itself. So a log that has outgrown maxLog is emptied by the writer, which waits for the readers of then; and a reader
// that has been there for as long as maxHold has to go. That bounds the file: by maxLog, and what is written in maxHold.
type wal struct {
	path  string
	tried time.Time
}

// outgrown reports whether the log is in the way.
func (l *wal) outgrown() bool {
	info, err := os.Stat(l.path)
	return err == nil && info.Size() > maxLog
}

// trim empties a log that has outgrown. It keeps the writer, and nobody else, from going on.
func (w *writer) trim() {
	if time.Since(w.log.tried) < trimPause || !w.log.outgrown() {
		return
	}
	ctx := context.Background()
	conn, err := take(ctx, w.pool)
	if err != nil {
		return // closed, and closing has copied everything
	}
	defer conn.Close()
	// That it cannot be done yet is not an error, and what else there is the next commit will be told.
	_, _ = conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA busy_timeout = %d",
		trimWait.Milliseconds(), busyTimeout.Milliseconds()))
	w.log.tried = time.Now()
}
