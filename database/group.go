package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// A group of maxGroup members, or of maxGroupAge, commits even if others wait: under steady load somebody always waits.
	maxGroup    = 256
	maxGroupAge = 20 * time.Millisecond
	// For soloTime after a shared commit has failed, which is longer than the pause before a retry, transactions commit alone.
	soloTime = 100 * time.Millisecond
)

// writer is SQLite's one writer. Transactions take turns on it.
//
// A durable commit costs a flush of the disk, and one flush can commit many transactions. So each runs in a savepoint of one open
// transaction, one after another, which isolates them. The last member, when nobody else waits for a turn, is the leader: it
// commits for all, and only then do they return. A transaction that is alone waits for nobody. (DeWitt et al., Implementation
// Techniques for Main Memory Database Systems, 1984.)
type writer struct {
	driver  *sqliteDriver
	db      *sql.DB // of one connection
	control control // of that connection

	observe atomic.Pointer[func(transactions int, took time.Duration)] // see ObserveCommits

	mu        sync.Mutex
	taken     bool      // somebody has the turn
	queue     []waiter  // for the turn, in order of arrival
	soloUntil time.Time // a transaction that arrives earlier commits alone
	closed    bool

	// Only the holder of the turn uses these.
	conn            *sql.Conn            // nil until it is needed
	prepared        map[string]*sql.Stmt // on conn
	group           *group               // nil if none is open
	file            *file
	maxLog, hardLog int64
	commits         int
	logSize         int64     // after the last commit, in bytes
	trimmed         time.Time // when trim last emptied the log
}

// waiter is a transaction or a statement that waits for its turn.
type waiter struct {
	turn chan struct{} // closed when its turn has come
	solo bool          // it shares no commit
}

// group is transactions that share a COMMIT.
type group struct {
	begun time.Time
	solo  bool          // it has one member
	size  int           // members that have done their part
	kept  int           // of these, members that are to be committed
	done  chan struct{} // closed when the group has ended
	took  time.Duration // by COMMIT; valid once done is closed
	err   error         // why nothing is kept; valid once done is closed
}

// enter waits for the turn, and reports whether the caller is solo: then it gets the turn only when no group is open.
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

	err := await(ctx, turn)
	if err == nil {
		return solo, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.queue, func(w waiter) bool { return w.turn == turn })
	if i < 0 {
		return solo, nil // the turn has come at the last moment
	}
	w.queue = slices.Delete(w.queue, i, i+1)
	return solo, err
}

// pass gives the turn to the next waiter. Before that, it commits the group, unless the waiter joins it. It holds mu from this
// decision until the waiter has its turn: if the waiter gave up in between, nobody would commit.
func (w *writer) pass() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.group != nil && len(w.queue) == 0 {
		// Let goroutines run that are ready: some of them may be about to join. If there is none, this costs nothing.
		w.mu.Unlock()
		runtime.Gosched()
		w.mu.Lock()
	}
	if g := w.group; g != nil {
		full := g.solo || g.size >= maxGroup || time.Since(g.begun) >= maxGroupAge
		if full || len(w.queue) == 0 || w.queue[0].solo {
			w.mu.Unlock() // others queue during the flush
			w.end(nil)
			w.mu.Lock()
		}
	}
	if len(w.queue) > 0 {
		close(w.queue[0].turn)
		w.queue = slices.Delete(w.queue, 0, 1)
		return
	}
	w.taken = false
	if w.closed {
		w.disconnect()
	}
}

// take waits for the turn, and takes the connection if the writer does not have it.
func (w *writer) take(ctx context.Context, alone bool) (solo bool, err error) {
	if solo, err = w.enter(ctx, alone); err != nil {
		return solo, err
	}
	if lost := w.file.lost.Load(); lost != nil {
		err = *lost
	} else if w.conn == nil {
		err = w.connect(ctx)
	}
	if err != nil {
		w.pass()
	}
	return solo, err
}

func (w *writer) connect(ctx context.Context) (err error) {
	w.conn, err = w.db.Conn(ctx)
	w.prepared = map[string]*sql.Stmt{}
	return err
}

// load returns whether somebody has the turn, as 0 or 1, and how many wait for it.
func (w *writer) load() (inUse, waiting int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.taken {
		inUse = 1
	}
	return inUse, len(w.queue)
}

// disconnect gives the connection back once its rows are closed.
func (w *writer) disconnect() {
	for _, statement := range w.prepared {
		_ = statement.Close()
	}
	if w.conn != nil {
		_ = w.conn.Close()
	}
	w.conn, w.prepared = nil, nil
}

// close closes the database. A holder of the turn keeps its connection.
func (w *writer) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if !w.taken {
		w.disconnect()
	}
	return w.db.Close()
}

// prepare prepares a statement, once: that takes longer than running it, except for COMMIT and checkpoints.
func (w *writer) prepare(statement string) (prepared *sql.Stmt, err error) {
	if prepared = w.prepared[statement]; prepared == nil {
		if prepared, err = w.conn.PrepareContext(context.Background(), statement); err == nil {
			w.prepared[statement] = prepared
		}
	}
	return prepared, err
}

// exec runs a statement that begins or ends a transaction or a savepoint.
func (w *writer) exec(statement string) error {
	prepared, err := w.prepare(statement)
	if err == nil {
		_, err = prepared.Exec()
	}
	return err
}

// end commits the group, or rolls it back if err is not nil, and wakes its members.
func (w *writer) end(err error) {
	g := w.group
	w.group = nil
	var logSize int64
	if err == nil && g.kept > 0 { // a COMMIT of nothing would flush pages that have not changed
		logSize, err = w.commit(g)
	}
	if err != nil || g.kept == 0 { // a failed COMMIT leaves the transaction open, if a deferred constraint or a full disk is the reason
		_, rollbackErr := rollBack(w.conn)
		if result(err) == resultFlush && w.overwrite() != nil {
			err = fmt.Errorf("%w: %w", errUnknown, err)
		}
		if rollbackErr != nil {
			w.disconnect()
		}
		if err = errors.Join(err, rollbackErr); err != nil && g.size > 1 && !errors.Is(err, ErrFileReplaced) {
			w.mu.Lock()
			w.soloUntil = time.Now().Add(soloTime)
			w.mu.Unlock()
			err = fmt.Errorf("%w by %d transactions: %w", errShared, g.size, err)
		}
	}
	g.err = err
	close(g.done)
	if err == nil && g.kept > 0 {
		w.keepLogSmall(logSize)
	}
}

// commit commits the group. If the file is gone, it writes nothing, or what was refused would be there when the file comes back. If
// the file goes meanwhile, nobody knows whether that happens.
func (w *writer) commit(g *group) (logSize int64, err error) {
	if _, err := w.file.check(); err != nil {
		return 0, err
	}
	begun := time.Now()
	err = w.exec("COMMIT")
	if g.took = time.Since(begun); err != nil {
		return 0, err
	}
	if logSize, err = w.file.check(); errors.Is(err, ErrFileReplaced) {
		return 0, fmt.Errorf("%w: %w", errUnknown, err)
	}
	return logSize, nil
}

// overwrite undoes a COMMIT whose flush has failed. The end of the log has it whole, and the next process to open the file would take
// it for committed. A commit that changes nothing is written over it.
func (w *writer) overwrite() error {
	_, err := w.conn.ExecContext(context.Background(), "BEGIN IMMEDIATE; CREATE TABLE daybook_probe (a); DROP TABLE daybook_probe; COMMIT")
	if err != nil {
		_, _ = rollBack(w.conn)
	}
	return err
}

// giveBack passes the turn on once the rows are closed. It rolls back what a script has left open: BEGIN, and an error before its
// COMMIT.
func (w *writer) giveBack() {
	defer w.pass()
	w.disconnect() // waits for the rows
	if w.connect(context.Background()) != nil {
		return // the database is closed
	}
	if _, err := rollBack(w.conn); err != nil {
		w.disconnect() // which ends the transaction
		return
	}
	w.copyLog("PASSIVE", copyAt)
}

// member is the role of a writing transaction.
type member struct {
	writer *writer
	group  *group
}

func (m *member) begin(ctx context.Context) (*sql.Conn, error) {
	w := m.writer
	solo, err := w.take(ctx, false)
	if err != nil {
		return nil, err
	}
	if w.group == nil {
		// IMMEDIATE: a transaction that reads and then writes would fail if another process wrote in between.
		if err = w.exec("BEGIN IMMEDIATE"); err == nil {
			w.group = &group{begun: time.Now(), solo: solo, done: make(chan struct{})}
		}
	}
	if err == nil {
		err = w.exec("SAVEPOINT " + savepoint)
	}
	if err != nil {
		w.pass()
		return nil, err
	}
	w.control = control{locked: true}
	m.group = w.group
	return w.conn, nil
}

// admit makes the statement go on when the request's context ends: if a write is interrupted, SQLite rolls back the whole
// transaction, and the group with it.
func (m *member) admit(ctx context.Context, _ string) (context.Context, error) {
	return context.WithoutCancel(ctx), nil
}

func (m *member) err() error {
	if m.writer.control.ended {
		return ErrRolledBack
	}
	return nil
}

// end keeps or undoes what the member wrote, passes the turn on, and returns when the group has ended. It fails if the group
// fails, also for a member that rolled back: it may have read writes that were undone.
func (m *member) end(commit bool) error {
	w, g := m.writer, m.group
	w.control.locked = false
	err := m.err()
	if err == nil && !commit {
		err = w.exec("ROLLBACK TO " + savepoint)
	}
	if err == nil {
		err = w.exec("RELEASE " + savepoint)
	}
	g.size++
	first := g.size == 1
	if commit {
		g.kept++
	}
	if err != nil {
		w.end(err) // SQLite has undone the whole group, or cannot undo the member alone
	}
	w.pass()
	<-g.done
	// The first member tells the observer: the leader still has the turn.
	if observe := w.observe.Load(); first && observe != nil && g.err == nil && g.kept > 0 {
		(*observe)(g.kept, g.took)
	}
	return g.err
}

// blocksOthers reports whether others wait for the turn, or for the commit.
func (m *member) blocksOthers() bool {
	m.writer.mu.Lock()
	defer m.writer.mu.Unlock()
	return len(m.writer.queue) > 0 || m.group.size > 0
}
