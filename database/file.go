package database

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"time"
)

// ErrFileReplaced is the error of a write after the database's file, its write-ahead log or the log's index was deleted, renamed or
// replaced. Nothing is written until the database is closed, and opened again by a new process: in this one, SQLite may still have the
// index that was deleted, and would write over what others have written with theirs. New content in the same file, as cp writes it,
// is not noticed: restore a backup only while no process has the file open.
var ErrFileReplaced = errors.New("the database's file was deleted, renamed or replaced while it was open")

// file is the database's file, its write-ahead log and the index of the log, as they were opened. Processes that have different ones
// of the index do not see each other's locks, and would write over each other's commits.
type file struct {
	path, log, index       string // the log and the index are beside the file, and not beside a symbolic link to it
	pathID, logID, indexID identity
	lost                   atomic.Pointer[error] // why nothing is written any more; set by the writer
}

// openFile returns the file that is open at path.
func openFile(path string) (*file, error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	f := &file{path: path, log: target + "-wal", index: target + "-shm"}
	if f.pathID, _, err = identify(f.path); err == nil {
		f.logID, _, err = identify(f.log)
	}
	if err == nil {
		f.indexID, _, err = identify(f.index)
	}
	return f, err
}

// check is sizes for the writer: after ErrFileReplaced, nothing is written any more, because SQLite would go on writing into a file
// that has lost its name. Each commit pays a few microseconds for it.
func (f *file) check() (logSize int64, err error) {
	_, logSize, err = f.sizes()
	if errors.Is(err, ErrFileReplaced) {
		lost := err
		f.lost.Store(&lost)
	}
	return logSize, err
}

// sizes returns the size of the file and of the log in bytes, or an error if their paths no longer name the files that are open. It
// must not open them: with a descriptor that is closed, the process loses all its locks of the file (POSIX).
func (f *file) sizes() (size, logSize int64, err error) {
	if lost := f.lost.Load(); lost != nil {
		return 0, 0, *lost
	}
	if size, err = f.pathID.sizeOf(f.path); err == nil {
		logSize, err = f.logID.sizeOf(f.log)
	}
	if err == nil {
		_, err = f.indexID.sizeOf(f.index)
	}
	return size, logSize, err
}

// sizeOf returns the size of the file at path, or ErrFileReplaced if there is none, or another.
func (i identity) sizeOf(path string) (size int64, err error) {
	found, size, err := identify(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("look at %s: %w", path, err)
	}
	if err != nil || !found.same(i) {
		return 0, fmt.Errorf("%w: %s: nothing is written until it is opened again", ErrFileReplaced, path)
	}
	return size, nil
}

// keepsLog reports whether the log must stay when the database is closed: it is not all in the database, although this process takes
// it to be, or another process has made an index of its own, because the one that is open was deleted.
func (f *file) keepsLog() bool {
	if lost := f.lost.Load(); lost != nil && errors.Is(*lost, errUnflushed) {
		return true
	}
	id, _, err := identify(f.index)
	return err == nil && !id.same(f.indexID)
}

// The bounds of the write-ahead log.
const (
	copyAt    = 1000                   // pages; from here on, it is copied into the database (SQLite's default),
	copyPause = 16                     // commits between two looks at how many pages are used, while the log does not grow
	maxLog    = 64 << 20               // bytes; from here on, the writer tries to empty it,
	hardLog   = 4 * maxLog             // and from here on it ends the transactions that block this
	trimPause = time.Second            // between two attempts
	trimWait  = 100 * time.Millisecond // for readers, in each attempt
)

// keepLogSmall has the log copied into the database, and perhaps emptied, after a COMMIT that has left it with that size.
func (w *writer) keepLogSmall(size int64) {
	w.commits++
	if size > w.logSize || w.commits%copyPause == 0 {
		w.copyLog("PASSIVE", copyAt)
	}
	w.logSize = size
	w.trim(size)
}

// errUnflushed is why nothing is written any more after copyLog.
var errUnflushed = errors.New("a flush of the database's file has failed")

// copyLog copies the write-ahead log into the database if it has so many pages, as a checkpoint of that mode. SQLite would do so at a
// COMMIT, but would not say that it has failed. The caller has the turn, so nobody writes meanwhile.
//
// If readers need a part of the log, SQLite copies the rest, and flushes nothing. If the flush of a later copy fails, the disk may
// have lost both, as PostgreSQL found (https://lwn.net/Articles/752063), and SQLite would copy only the second one again. So nothing is
// written any more, and the log stays: the next process to open the database copies all of it.
func (w *writer) copyLog(mode string, least int) {
	pages, copied, err := w.checkpoint("NOOP")
	if err != nil || pages < least {
		return
	}
	// After any other error, and if readers block it, a later commit tries again.
	if _, _, err = w.checkpoint(mode); result(err) == resultFlush && copied > 0 {
		err = fmt.Errorf("%w: %s: nothing is written until a new process opens it (%w)", errUnflushed, w.file.path, err)
		w.file.lost.Store(&err)
	}
}

// checkpoint makes a checkpoint (https://sqlite.org/pragma.html#pragma_wal_checkpoint). It returns how many pages the log has, and how
// many of them have been copied.
func (w *writer) checkpoint(mode string) (pages, copied int, err error) {
	statement, err := w.prepare("PRAGMA wal_checkpoint(" + mode + ")")
	if err != nil {
		return 0, 0, err
	}
	var busy int
	err = statement.QueryRow().Scan(&busy, &pages, &copied)
	return pages, copied, err
}

// trim empties a write-ahead log that has become too large. SQLite appends commits to it, and begins it anew only when all of it is
// copied, and no reader needs it. If reading transactions overlap all the time, that moment never comes. The caller has the turn.
func (w *writer) trim(logSize int64) {
	if logSize <= w.maxLog || time.Since(w.trimmed) < trimPause {
		return
	}
	w.trimmed = time.Now()
	if logSize > w.hardLog {
		readers := w.driver.readers
		readers.gate.Lock() // or new readers could have the places before
		defer readers.gate.Unlock()
		defer readers.giveBack(w.stopReaders())
	}
	ctx := context.Background()
	_, _ = w.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", trimWait.Milliseconds()))
	w.copyLog("TRUNCATE", 0)
	_, _ = w.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", busyTimeout.Milliseconds()))
}

// stopReaders takes the readers' places as they become free. After trimWait it ends the transactions that still have one.
func (w *writer) stopReaders() (places int) {
	readers := w.driver.readers
	for begun := time.Now(); places < cap(readers.free) && time.Since(begun) < 2*trimWait; {
		select {
		case <-readers.free:
			places++
		case <-time.After(trimWait / 10):
			if time.Since(begun) > trimWait {
				w.driver.watch.endReaders()
			}
		}
	}
	return places
}
