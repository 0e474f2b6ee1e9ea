package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// maxWait bounds how long a transaction waits for a connection or for its turn before it fails as busy.
const maxWait = 5 * time.Second

// pool is connections to one file that stay open. database/sql has such a pool, but a bounded wait costs a context and a
// timer there, also for whoever needs not wait; and a timer that is set wakes up the thread that waits for the network, which
// takes as long as the rest of a short transaction.
type pool struct {
	db      *sql.DB
	free    chan struct{} // has one for each connection that is not in use, opened or not
	waiting atomic.Int32  // for one
	closed  atomic.Bool

	mu     sync.Mutex
	opened []*sql.Conn // and not in use. The last one used is the last
}

// newPool returns a pool for the file at path, with no connection opened yet.
func newPool(path, settings string, size int) *pool {
	name := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: engineOptions}
	p := &pool{db: sql.OpenDB(connector{name: name.String(), settings: settings}), free: make(chan struct{}, size)}
	p.db.SetMaxIdleConns(size)
	for range size {
		p.free <- struct{}{}
	}
	return p
}

// take takes a connection out of the pool, for which it waits no longer than ctx and maxWait allow.
func (p *pool) take(ctx context.Context) (*sql.Conn, error) {
	select {
	case <-p.free:
		return p.open(ctx)
	default:
	}
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	limit := time.NewTimer(maxWait)
	defer limit.Stop()
	select {
	case <-p.free:
		return p.open(ctx)
	case <-limit.C:
		return nil, errBusy
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// open returns a connection that is open: the one used last, so that no more memory is taken for pages of the file, and no more
// statements are prepared, than are used at the same time.
func (p *pool) open(ctx context.Context) (*sql.Conn, error) {
	if conn := p.pop(); conn != nil {
		return conn, nil
	}
	conn, err := p.db.Conn(ctx)
	if err != nil {
		p.free <- struct{}{}
		return nil, err
	}
	// A script outside of transactions may have left one of its own open: BEGIN, and then an error before its COMMIT.
	if err := rollBack(conn); err != nil {
		p.drop(conn)
		return nil, err
	}
	return conn, nil
}

// pop returns the last of the opened connections, or nil if there is none.
func (p *pool) pop() *sql.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.opened) - 1
	if last < 0 {
		return nil
	}
	conn := p.opened[last]
	p.opened = p.opened[:last]
	return conn
}

// give gives a connection back that has no transaction.
func (p *pool) give(conn *sql.Conn) {
	p.mu.Lock()
	p.opened = append(p.opened, conn)
	p.mu.Unlock()
	p.free <- struct{}{}
	if p.closed.Load() {
		_ = p.drain() // closing a database that is still in use is not this transaction's error
	}
}

// undo gives a connection back whose transaction, if it still has one, is rolled back. Whoever asks for it may be gone; the
// end is owed to the next one on this connection.
func (p *pool) undo(conn *sql.Conn) error {
	err := rollBack(conn)
	if err == nil {
		p.give(conn)
	} else {
		p.drop(conn)
	}
	return err
}

// rollBack leaves the connection without a transaction, or unusable.
func rollBack(conn *sql.Conn) error {
	if errors.Is(alive(conn), ErrRolledBack) {
		return nil
	}
	_, err := conn.ExecContext(context.Background(), "ROLLBACK")
	if err == nil {
		return nil
	}
	discard := conn.Raw(func(any) error { return driver.ErrBadConn })
	return fmt.Errorf("roll back: %w", errors.Join(err, discard))
}

// drop gives a connection back for database/sql to look after, which closes a broken one. It waits until rows that are being
// read from it are closed.
func (p *pool) drop(conn *sql.Conn) {
	_ = conn.Close() // that it is closed already is all that can be said
	p.free <- struct{}{}
}

// drain closes the connections that are not in use.
func (p *pool) drain() error {
	var errs []error
	for range cap(p.free) {
		select {
		case <-p.free:
			if conn := p.pop(); conn != nil {
				errs = append(errs, conn.Close())
			}
			p.free <- struct{}{}
		default:
		}
	}
	return errors.Join(errs...)
}

// Close closes the connections, those in use when they are given back.
func (p *pool) Close() error {
	p.closed.Store(true)
	return errors.Join(p.drain(), p.db.Close())
}
