package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A group commits when nobody is waiting for a turn, and at the latest when it has maxGroup members or is maxGroupAge old:
// under a load that never ends, somebody has to be told.
const (
	maxGroup    = 256
	maxGroupAge = 20 * time.Millisecond
)

// ErrHeldTooLong is returned by the statements and the commit of a transaction that was ended because it had been in the way
// of others for 10 seconds. Rows that were still being read end early, so the commit of a reader tells, too.
var ErrHeldTooLong = errors.New("the transaction was ended: it had been in the way of others for too long")

// errShared marks the failure of a COMMIT that was made for several transactions, of which some may be innocent.
var errShared = errors.New("the commit was shared")

// writer is SQLite's one writer, on which transactions take turns.
//
// A durable commit costs a flush of the disk, and it takes one flush to commit many transactions as well as one. So each
// runs in a savepoint of one open transaction, one after another, which isolates them as ever. The last one, when nobody is
// waiting for a turn any more, commits for all; only then is each told. Alone, a transaction needs no savepoint, commits at
// once and pays nothing. (DeWitt et al., Implementation Techniques for Main Memory Database Systems, 1984, have the idea.)
type writer struct {
	pool *pool // of one connection

	mu    sync.Mutex
	taken bool            // somebody has the turn
	queue []chan struct{} // who waits for it, in order of arrival
	alone int             // so many transactions shall commit by themselves

	// Only who has the turn may look at these.
	group *group // the open transaction
	log   wal
}

// group is transactions that share a COMMIT.
type group struct {
	conn  *sql.Conn
	begun time.Time
	size  int           // members that have done their part
	over  chan struct{} // closed when the group has ended
	err   error         // what became of it, once it is over
}

// full reports whether the group is to be committed although others are waiting.
func (g *group) full() bool {
	return g.size >= maxGroup || time.Since(g.begun) >= maxGroupAge
}

// enter waits for the turn, no longer than ctx and maxWait allow.
func (w *writer) enter(ctx context.Context) error {
	w.mu.Lock()
	if !w.taken {
		w.taken = true
		w.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	w.queue = append(w.queue, turn)
	w.mu.Unlock()

	limit := time.NewTimer(maxWait)
	defer limit.Stop()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		return w.giveUp(turn, ctx.Err())
	case <-limit.C:
		return w.giveUp(turn, errBusy)
	}
}

// giveUp leaves the queue, and passes on a turn that has come at the last moment.
func (w *writer) giveUp(turn chan struct{}, why error) error {
	w.mu.Lock()
	i := slices.Index(w.queue, turn)
	if i >= 0 {
		w.queue = slices.Delete(w.queue, i, i+1)
	}
	w.mu.Unlock()
	if i < 0 {
		w.pass()
	}
	return why
}

// pass gives the turn to the next one, and before that, if there is none or the group is full, commits the group. That
// there is a next one is decided and acted upon in one step: one that gives up in between would leave a group that nobody
// commits.
func (w *writer) pass() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.group != nil && !w.another() {
		w.mu.Unlock() // it takes a flush of the disk, and others are to queue meanwhile
		w.commit()
		w.mu.Lock()
	}
	if len(w.queue) == 0 {
		w.taken = false
		return
	}
	close(w.queue[0])
	w.queue = slices.Delete(w.queue, 0, 1)
}

// another reports whether another transaction is to join the group. The caller holds mu.
func (w *writer) another() bool {
	if w.alone > 0 {
		w.alone--
		return false
	}
	return len(w.queue) > 0 && !w.group.full()
}

// begin opens a group.
func (w *writer) begin(ctx context.Context) error {
	conn, err := w.pool.take(ctx)
	if err != nil {
		return err
	}
	// IMMEDIATE: one that read first and then asked to write would be refused if another process wrote in between.
	if _, err := conn.ExecContext(context.WithoutCancel(ctx), "BEGIN IMMEDIATE"); err != nil {
		return errors.Join(err, w.pool.undo(conn))
	}
	w.group = &group{conn: conn, begun: time.Now(), over: make(chan struct{})}
	return nil
}

// commit makes the group durable and tells its members.
func (w *writer) commit() {
	g := w.group
	_, err := g.conn.ExecContext(context.Background(), "COMMIT")
	if err == nil {
		w.pool.give(g.conn)
	} else {
		// A deferred constraint or a full disk leaves the transaction open.
		err = errors.Join(err, w.pool.undo(g.conn))
		if g.size > 1 {
			err = fmt.Errorf("%w by %d transactions: %w", errShared, g.size, err)
			w.mu.Lock()
			w.alone = g.size // tried again, each finds out whether it was the one
			w.mu.Unlock()
		}
	}
	w.end(err)
	w.trim()
}

// end ends the group, whose connection has been given back.
func (w *writer) end(err error) {
	g := w.group
	w.group = nil
	g.err = err
	close(g.over)
}

// member is a transaction's part in a group.
type member struct {
	writer *writer
	group  *group
	first  bool // of its group; if it is undone, so is the group
}

func (m *member) begin(ctx context.Context) (*sql.Conn, error) {
	w := m.writer
	if err := w.enter(ctx); err != nil {
		return nil, err
	}
	if m.first = w.group == nil; m.first {
		if err := w.begin(ctx); err != nil {
			w.pass()
			return nil, err
		}
	} else if err := m.exec("SAVEPOINT member"); err != nil {
		w.pass()
		return nil, err
	}
	m.group = w.group
	return m.group.conn, nil
}

// commit passes the turn on, and returns when the group has been committed.
func (m *member) commit() error {
	w, g := m.writer, m.group
	err := alive(g.conn)
	if err == nil && !m.first {
		err = m.exec("RELEASE member")
	}
	if err != nil {
		return errors.Join(err, m.rollback())
	}
	w.mu.Lock()
	g.size++
	w.mu.Unlock()
	w.pass()
	<-g.over
	return g.err
}

// rollback undoes the member's own part, and passes the turn on.
func (m *member) rollback() error {
	defer m.writer.pass()
	if err := alive(m.group.conn); err != nil {
		m.writer.end(errors.Join(err, m.writer.pool.undo(m.group.conn))) // SQLite has undone all of it
		return nil
	}
	if m.first {
		err := m.writer.pool.undo(m.group.conn)
		m.writer.end(err)
		return err
	}
	err := m.exec("ROLLBACK TO member; RELEASE member")
	if err != nil {
		// It cannot go alone, so all of it goes.
		err = errors.Join(err, m.writer.pool.undo(m.group.conn))
		m.writer.end(err)
	}
	return err
}

// hinders reports whether somebody waits for who has the turn.
func (m *member) hinders() bool {
	w := m.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue) > 0 || w.group != nil && w.group.size > 0
}

func (m *member) exec(statement string) error {
	_, err := m.writer.group.conn.ExecContext(context.Background(), statement)
	return err
}
