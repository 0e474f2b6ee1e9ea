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

// A group commits when nobody waits for a turn, and at the latest when it has maxGroup members or is maxGroupAge old: under a
// load that never ends, its members would never be answered.
const (
	maxGroup    = 256
	maxGroupAge = 20 * time.Millisecond
)

// ErrHeldTooLong is returned by the statements and the commit of a transaction that was ended because it blocked others for 10
// seconds, or because it read while the write-ahead log outgrew its bound. Rows that were still being read end early, so the
// commit of a reader returns it, too.
var ErrHeldTooLong = errors.New("the transaction was ended: it blocked others for too long")

// soloTime is for how long, after the commit of a group failed, transactions commit alone: longer than anyone pauses before
// another attempt. So the one whose fault it was fails alone.
const soloTime = 100 * time.Millisecond

// errShared marks the failure of transactions that were to share a commit, of which some may be innocent.
var errShared = errors.New("the commit was shared")

// writer is SQLite's one writer, on which transactions take turns.
//
// A durable commit costs a flush of the disk, and one flush can commit many transactions as well as one. So each runs in a
// savepoint of one open transaction, one after another, which isolates them as ever. The last member, when nobody waits for a
// turn any more, is the leader: it commits for all, and only then does each return. A transaction that is alone waits for
// nobody, and pays a few microseconds for its savepoint. (DeWitt et al., Implementation Techniques for Main Memory Database
// Systems, 1984, have the idea.)
type writer struct {
	db      *sql.DB // of one connection
	control *control
	readers *readers
	watch   *watch

	mu        sync.Mutex
	taken     bool      // somebody has the turn
	queue     []waiter  // waiting for it, in order of arrival
	soloUntil time.Time // transactions that come before that commit alone

	closed bool

	// Only the holder of the turn may use these.
	session *session // nil until it is needed
	group   *group   // the open transaction
	file    *file
	log     wal
}

// waiter is a transaction, or a statement, that waits for its turn.
type waiter struct {
	turn chan struct{} // closed when it has come
	solo bool          // it shares no commit
}

// group is transactions that share a COMMIT.
type group struct {
	begun time.Time
	solo  bool          // it has one member
	size  int           // members that have ended their part
	kept  int           // of these, members that want it committed
	done  chan struct{} // closed when the group has ended
	err   error         // what became of it, once it is done
}

// full reports whether the group is to be committed although others are waiting.
func (g *group) full() bool {
	return g.solo || g.size >= maxGroup || time.Since(g.begun) >= maxGroupAge
}

// enter waits for the turn, no longer than ctx and maxWait allow. A solo transaction gets it when no group is open. For a while
// after a group failed, all are solo.
func (w *writer) enter(ctx context.Context, solo bool) (bool, error) {
	w.mu.Lock()
	solo = solo || time.Now().Before(w.soloUntil)
	if !w.taken {
		w.taken = true
		w.mu.Unlock()
		return solo, nil
	}
	turn := make(chan struct{})
	w.queue = append(w.queue, waiter{turn, solo})
	w.mu.Unlock()

	limit := time.NewTimer(maxWait)
	defer limit.Stop()
	select {
	case <-turn:
		return solo, nil
	case <-ctx.Done():
		return solo, w.giveUp(turn, ctx.Err())
	case <-limit.C:
		return solo, w.giveUp(turn, errBusy)
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

// pass gives the turn to the next one, and before that, if there is none that joins the group, commits the group. That there
// is a next one is decided and acted upon in one step: one that gives up in between would leave a group that nobody commits.
func (w *writer) pass() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.group != nil && len(w.queue) == 0 {
		// Let run what can run: another transaction may be just about to join. One that is alone loses nothing by that.
		w.mu.Unlock()
		runtime.Gosched()
		w.mu.Lock()
	}
	if w.group != nil && !w.nextJoins() {
		w.mu.Unlock() // it takes a flush of the disk, and others are to queue meanwhile
		w.commit()
		w.mu.Lock()
	}
	if len(w.queue) == 0 {
		w.taken = false
		if w.closed {
			_ = w.disconnect() // the database was closed before, without an error
		}
		return
	}
	close(w.queue[0].turn)
	w.queue = slices.Delete(w.queue, 0, 1)
}

// nextJoins reports whether the next one in the queue joins the group. The caller holds mu.
func (w *writer) nextJoins() bool {
	return len(w.queue) > 0 && !w.queue[0].solo && !w.group.full()
}

// begin opens a group.
func (w *writer) begin(ctx context.Context, solo bool) error {
	if err := w.connect(ctx); err != nil {
		return err
	}
	// IMMEDIATE: one that read first and then asked to write would be refused if another process wrote in between.
	if err := w.session.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	w.group = &group{begun: time.Now(), solo: solo, done: make(chan struct{})}
	return nil
}

// commit makes the group durable and wakes its members.
func (w *writer) commit() {
	if w.group.kept == 0 {
		w.abort(nil) // a COMMIT would flush pages that are as they were
		return
	}
	if err := w.session.exec("COMMIT"); err != nil {
		w.abort(err) // a deferred constraint or a full disk leaves the transaction open
		return
	}
	size, err := w.file.check()
	w.end(err)
	w.trim(size)
}

// abort rolls the group back, because of err.
func (w *writer) abort(err error) {
	if rollbackErr := w.rollBack(); rollbackErr != nil {
		err = errors.Join(err, rollbackErr)
	}
	if err != nil && w.group.size > 1 {
		err = w.shared(err)
	}
	w.end(err)
}

// shared marks err as the failure of several transactions, and has them commit alone when they are tried again.
func (w *writer) shared(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.soloUntil = time.Now().Add(soloTime)
	return fmt.Errorf("%w by %d transactions: %w", errShared, w.group.size, err)
}

// end ends the group, of which err is what became.
func (w *writer) end(err error) {
	w.group.err = err
	close(w.group.done)
	w.group = nil
}

// member is a transaction's part in a group.
type member struct {
	writer *writer
	group  *group
}

func (m *member) begin(ctx context.Context) (*sql.Conn, error) {
	w := m.writer
	solo, err := w.enter(ctx, false)
	if err != nil {
		return nil, err
	}
	if w.group == nil {
		err = w.begin(ctx, solo)
	}
	if err == nil {
		err = w.session.exec("SAVEPOINT " + savepoint)
	}
	if err != nil {
		w.pass()
		return nil, err
	}
	m.group = w.group
	w.control.lock()
	return w.session.conn, nil
}

// err returns ErrRolledBack if the transaction has ended behind the back of its owner.
func (m *member) err() error { return m.writer.control.err() }

// commit keeps the member's own part, if the group is committed.
func (m *member) commit() error {
	err := m.writer.control.unlock()
	if err == nil {
		err = m.writer.session.exec("RELEASE " + savepoint)
	}
	if err != nil {
		return errors.Join(err, m.rollback())
	}
	m.group.kept++
	m.leave()
	return m.wait()
}

// rollback undoes the member's own part. It returns when the group has ended, and fails if the group does: the member may have
// read writes that were then undone, and nobody must act on those.
func (m *member) rollback() error {
	err := m.writer.control.unlock()
	if err == nil {
		err = errors.Join(m.writer.session.exec("ROLLBACK TO "+savepoint), m.writer.session.exec("RELEASE "+savepoint))
	}
	m.leave()
	if err != nil {
		m.writer.abort(err) // it cannot be undone alone, or SQLite has undone all of it
	}
	return m.wait()
}

// leave counts the member as one that waits for the end of the group.
func (m *member) leave() {
	m.writer.mu.Lock()
	defer m.writer.mu.Unlock()
	m.group.size++
}

// wait passes the turn on, and returns when the group has ended.
func (m *member) wait() error {
	m.writer.pass()
	<-m.group.done
	return m.group.err
}

// blocksOthers reports whether others wait for the holder of the turn: for the turn, or for the commit.
func (m *member) blocksOthers() bool {
	w := m.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue) > 0 || w.group.size > 0
}
