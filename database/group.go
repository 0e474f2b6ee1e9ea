package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
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

// apart is for how long, after transactions have failed together, those that come commit by themselves: longer than anyone
// pauses before another attempt. So each finds out whether it was the one.
const apart = 100 * time.Millisecond

// errShared marks the failure of transactions that were to share a commit, of which some may be innocent.
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
	taken bool      // somebody has the turn
	queue []waiter  // who waits for it, in order of arrival
	apart time.Time // who comes before that commits by itself

	// Only who has the turn may look at these.
	group *group // the open transaction
	log   wal
}

// waiter is one that waits for its turn.
type waiter struct {
	turn  chan struct{} // closed when it has come
	alone bool          // it commits by itself
}

// group is transactions that share a COMMIT.
type group struct {
	conn  *sql.Conn
	begun time.Time
	alone bool          // it has one member
	size  int           // members that have done or undone their part
	over  chan struct{} // closed when the group has ended
	err   error         // what became of it, once it is over
}

// full reports whether the group is to be committed although others are waiting.
func (g *group) full() bool {
	return g.alone || g.size >= maxGroup || time.Since(g.begun) >= maxGroupAge
}

// enter waits for the turn, no longer than ctx and maxWait allow, and reports whether it is to commit by itself.
func (w *writer) enter(ctx context.Context) (alone bool, err error) {
	w.mu.Lock()
	alone = time.Now().Before(w.apart)
	if !w.taken {
		w.taken = true
		w.mu.Unlock()
		return alone, nil
	}
	turn := make(chan struct{})
	w.queue = append(w.queue, waiter{turn, alone})
	w.mu.Unlock()

	limit := time.NewTimer(maxWait)
	defer limit.Stop()
	select {
	case <-turn:
		return alone, nil
	case <-ctx.Done():
		return false, w.giveUp(turn, ctx.Err())
	case <-limit.C:
		return false, w.giveUp(turn, errBusy)
	}
}

// giveUp leaves the queue, and passes on a turn that has come at the last moment.
func (w *writer) giveUp(turn chan struct{}, why error) error {
	w.mu.Lock()
	i := slices.IndexFunc(w.queue, func(w waiter) bool { return w.turn == turn })
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
	if w.group != nil && len(w.queue) == 0 {
		// Let run what can run: somebody else may be just about to join, and who is alone waits for nobody.
		w.mu.Unlock()
		runtime.Gosched()
		w.mu.Lock()
	}
	if w.group != nil && !w.another() {
		w.mu.Unlock() // it takes a flush of the disk, and others are to queue meanwhile
		w.commit()
		w.mu.Lock()
	}
	if len(w.queue) == 0 {
		w.taken = false
		return
	}
	close(w.queue[0].turn)
	w.queue = slices.Delete(w.queue, 0, 1)
}

// another reports whether another transaction is to join the group. The caller holds mu.
func (w *writer) another() bool {
	return len(w.queue) > 0 && !w.queue[0].alone && !w.group.full()
}

// begin opens a group.
func (w *writer) begin(ctx context.Context, alone bool) error {
	conn, err := w.pool.take(ctx)
	if err != nil {
		return err
	}
	// IMMEDIATE: one that read first and then asked to write would be refused if another process wrote in between.
	if _, err := conn.ExecContext(context.WithoutCancel(ctx), "BEGIN IMMEDIATE"); err != nil {
		return errors.Join(err, w.pool.undo(conn))
	}
	w.group = &group{conn: conn, begun: time.Now(), alone: alone, over: make(chan struct{})}
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
			err = w.shared(err)
		}
	}
	w.end(err)
	w.trim()
}

// shared marks err as the failure of several transactions, and has them commit by themselves when they are tried again.
func (w *writer) shared(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.apart = time.Now().Add(apart)
	return fmt.Errorf("%w by %d transactions: %w", errShared, w.group.size, err)
}

// end ends the group, whose connection has been given back.
func (w *writer) end(err error) {
	g := w.group
	w.group = nil
	g.err = err
	close(g.over)
}

// point is the savepoint of who has the turn: a name that no application has for one of its own.
const point = "daybook_member"

// member is a transaction's part in a group.
type member struct {
	writer *writer
	group  *group
	first  bool // of its group; if it is undone, so is the group
}

func (m *member) begin(ctx context.Context) (*sql.Conn, error) {
	w := m.writer
	alone, err := w.enter(ctx)
	if err != nil {
		return nil, err
	}
	if m.first = w.group == nil; m.first {
		if err := w.begin(ctx, alone); err != nil {
			w.pass()
			return nil, err
		}
	} else if err := m.exec("SAVEPOINT " + point); err != nil {
		w.pass()
		return nil, err
	}
	m.group = w.group
	return m.group.conn, nil
}

// commit keeps the member's own part, if the group is committed.
func (m *member) commit() error {
	err := alive(m.group.conn)
	if err == nil && !m.first {
		err = m.exec("RELEASE " + point)
	}
	if err != nil {
		return errors.Join(err, m.rollback())
	}
	return m.wait()
}

// rollback undoes the member's own part. What it has read of the others' is true only if they are committed: so it, too,
// returns only then, and fails if they are not. Otherwise somebody could be told of what never was.
func (m *member) rollback() error {
	w, g := m.writer, m.group
	if m.first {
		w.end(w.pool.undo(g.conn))
	} else if err := alive(g.conn); err != nil {
		w.end(w.shared(errors.Join(err, w.pool.undo(g.conn)))) // SQLite has undone all of it
	} else if err := m.exec("ROLLBACK TO " + point + "; RELEASE " + point); err != nil {
		w.end(w.shared(errors.Join(err, w.pool.undo(g.conn)))) // it cannot go alone, so all of it goes
	}
	return m.wait()
}

// wait passes the turn on, and returns when the group is over.
func (m *member) wait() error {
	w, g := m.writer, m.group
	w.mu.Lock()
	g.size++
	w.mu.Unlock()
	w.pass()
	<-g.over
	return g.err
}

// hinders reports whether somebody waits for who has the turn: for the turn, for the commit, or, with a statement outside of
// transactions, for the connection.
func (m *member) hinders() bool {
	w := m.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue) > 0 || w.group.size > 0 || w.pool.waiting.Load() > 0
}

func (m *member) exec(statement string) error {
	_, err := m.writer.group.conn.ExecContext(context.Background(), statement)
	return err
}
