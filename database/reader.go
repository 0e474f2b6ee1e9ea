package database

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// maxWait is how long a wait for a connection or for a turn lasts before it fails as busy.
const maxWait = 5 * time.Second

// readers is the pool of connections that read. A place is the right to use one of them. database/sql could bound the wait for a
// connection only by a timer for each request, which takes as long as a short transaction: it wakes up the network's thread.
type readers struct {
	db      *sql.DB
	places  chan struct{} // filled with those that are free
	waiting atomic.Int32  // transactions and queries that wait for a place
	gate    sync.RWMutex  // locked while new readers must wait
}

func (r *readers) take(ctx context.Context) (*sql.Conn, error) {
	r.gate.RLock()
	//lint:ignore SA2001 if the lock was kept while waiting for a place, the gate could not be closed
	r.gate.RUnlock()
	select {
	case <-r.places:
	default:
		r.waiting.Add(1)
		err := await(ctx, r.places)
		r.waiting.Add(-1)
		if err != nil {
			return nil, err
		}
	}
	conn, err := r.db.Conn(ctx)
	if err != nil {
		r.giveBack(1)
	}
	return conn, err
}

// await waits for the channel, but no longer than ctx and maxWait allow.
func await(ctx context.Context, channel <-chan struct{}) error {
	limit := time.NewTimer(maxWait)
	defer limit.Stop()
	select {
	case <-channel:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-limit.C:
		return errBusy
	}
}

// give gives a connection back once its rows are closed.
func (r *readers) give(conn *sql.Conn) {
	_ = conn.Close() // fails only if it is closed already
	r.giveBack(1)
}

func (r *readers) giveBack(places int) {
	for range places {
		r.places <- struct{}{}
	}
}

// reader is the role of a reading transaction.
type reader struct {
	driver *sqliteDriver
	conn   *sql.Conn
}

func (r *reader) begin(ctx context.Context) (conn *sql.Conn, err error) {
	if r.conn, err = r.driver.readers.take(ctx); err != nil {
		return nil, err
	}
	// BEGIN waits for nothing, and with a context that cannot be cancelled the driver needs no goroutine for it.
	if _, err := r.conn.ExecContext(context.Background(), "BEGIN"); err != nil {
		_, rollbackErr := rollBack(r.conn)
		r.driver.readers.give(r.conn)
		return nil, errors.Join(err, rollbackErr)
	}
	return r.conn, nil
}

func (r *reader) err() error { return nil }

// end ends the snapshot. It returns ErrRolledBack if a statement of the application has ended it before: what was read after that
// belongs to another state of the database.
func (r *reader) end(bool) error {
	found, err := rollBack(r.conn)
	r.driver.readers.give(r.conn)
	if err == nil && !found {
		return ErrRolledBack
	}
	return err
}

// blocksOthers reports whether others wait for a connection, or the write-ahead log is to be emptied, which readers block.
func (r *reader) blocksOthers() bool {
	writer := r.driver.writer
	_, logSize, err := identify(writer.file.log)
	return r.driver.readers.waiting.Load() > 0 || err == nil && logSize > writer.maxLog
}
