package database

import (
	"context"
	"database/sql"
	"sync"
	"sync/atomic"
	"time"
)

// maxWait is how long a wait for a connection or for a turn lasts before it fails as busy.
const maxWait = 5 * time.Second

// places are rights to use something.
type places struct {
	free    chan struct{} // filled with those that are free
	waiting atomic.Int32  // transactions and queries that wait for one
}

func newPlaces(n int) *places {
	p := &places{free: make(chan struct{}, n)}
	p.giveBack(n)
	return p
}

// take waits for a place if none is free.
func (p *places) take(ctx context.Context) error {
	select {
	case <-p.free:
		return nil
	default:
	}
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	return await(ctx, p.free)
}

// load returns how many have a place, and how many wait for one.
func (p *places) load() (inUse, waiting int) { return cap(p.free) - len(p.free), int(p.waiting.Load()) }

func (p *places) giveBack(n int) {
	for range n {
		p.free <- struct{}{}
	}
}

// pool is connections that several transactions use at once. A place is the right to use one of them. database/sql could bound the
// wait for a connection only by a timer for each request, which takes as long as a short transaction: it wakes up the network's
// thread.
type pool struct {
	db *sql.DB
	*places
	gate sync.RWMutex // locked while new ones must wait
}

// newPool returns a pool that has at most size connections.
func newPool(db *sql.DB, size int) *pool {
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return &pool{db: db, places: newPlaces(size)}
}

// fill opens all connections, so that none has to be opened when clients have taken all of the process's file descriptors.
func (p *pool) fill(ctx context.Context) error {
	for range cap(p.free) {
		conn, err := p.db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
	}
	return nil
}

func (p *pool) take(ctx context.Context) (*sql.Conn, error) {
	p.gate.RLock()
	//lint:ignore SA2001 if the lock was kept while waiting for a place, the gate could not be closed
	p.gate.RUnlock()
	if err := p.places.take(ctx); err != nil {
		return nil, err
	}
	conn, err := p.db.Conn(ctx)
	if err != nil {
		p.giveBack(1)
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
func (p *pool) give(conn *sql.Conn) {
	_ = conn.Close() // fails only if it is closed already
	p.giveBack(1)
}
