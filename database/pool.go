package database

import (
	"context"
	"database/sql"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"time"
)

// maxWait bounds how long a transaction waits for a connection or for its turn before it fails as busy.
const maxWait = 5 * time.Second

// openPool returns a pool of at most size connections to the file at path, none of them open yet. They stay open.
func openPool(path string, connect connector, size int) *sql.DB {
	name := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: engineOptions}
	connect.name = name.String()
	db := sql.OpenDB(connect)
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return db
}

// readers is the connections that read. database/sql keeps them; a place is the right to use one of them.
//
// A wait in database/sql is bounded by a context with a timer, which every request would set, also one that need not wait. A
// timer that is set wakes up the thread that waits for the network, and that takes as long as a short transaction.
type readers struct {
	db      *sql.DB
	places  chan struct{}
	waiting atomic.Int32 // transactions and queries that wait for a place
}

func newReaders(db *sql.DB, size int) *readers {
	r := &readers{db: db, places: make(chan struct{}, size)}
	r.giveBack(size)
	return r
}

// take takes a connection, for which it waits no longer than ctx and maxWait allow.
func (r *readers) take(ctx context.Context) (*sql.Conn, error) {
	if err := r.wait(ctx); err != nil {
		return nil, err
	}
	conn, err := r.db.Conn(ctx)
	if err != nil {
		r.giveBack(1)
	}
	return conn, err
}

// wait waits for a place.
func (r *readers) wait(ctx context.Context) error {
	select {
	case <-r.places:
		return nil
	default:
	}
	r.waiting.Add(1)
	defer r.waiting.Add(-1)
	limit := time.NewTimer(maxWait)
	defer limit.Stop()
	select {
	case <-r.places:
		return nil
	case <-limit.C:
		return errBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

// give gives a connection back, and waits until the rows that are read from it are closed.
func (r *readers) give(conn *sql.Conn) {
	_ = conn.Close() // that it is closed already is all that can be said
	r.giveBack(1)
}

// takePlaces takes all places but the given number that the caller has, as they become free, for no longer than the limit.
// While it has them, no new transaction reads.
func (r *readers) takePlaces(has int, limit time.Duration) int {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for ; has < cap(r.places); has++ {
		select {
		case <-r.places:
		case <-timer.C:
			return has
		}
	}
	return has
}

// giveBack gives places back.
func (r *readers) giveBack(places int) {
	for range places {
		r.places <- struct{}{}
	}
}
