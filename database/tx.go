package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	entsql "entgo.io/ent/dialect/sql"
)

// tx is a transaction. It is no sql.Tx, which would not notice that SQLite has ended the transaction, and would let each
// statement after that commit by itself.
type tx struct {
	entsql.Conn // ent's Exec and Query, which call ExecContext and QueryContext

	role    role
	writing bool
	watch   *watch
	trace   *trace

	unlimited bool // it may block others for longer than maxHold

	mu     sync.Mutex
	conn   *sql.Conn   // nil before the first statement
	rows   []*sql.Rows // closed at the end: while they are open, the connection cannot be given back
	failed error       // the first error of a statement, until the savepoint around that statement is rolled back to
	done   error       // what every call returns once the transaction has ended
}

// role is how a transaction uses its connection: on SQLite as a reader or as a member of a group of writers, or on PostgreSQL.
type role interface {
	begin(context.Context) (*sql.Conn, error)
	admit(ctx context.Context, query string) (context.Context, error) // returns the context to run a statement with
	err() error                                                       // why the transaction has ended by itself, if it has
	end(commit bool) error
	blocksOthers() bool
}

func newTx(ctx context.Context, role role, watch *watch, writing bool) *tx {
	t := &tx{role: role, writing: writing, watch: watch, trace: &trace{}}
	if traced, ok := ctx.Value(traceKey{}).(*trace); ok {
		t.trace = traced
	}
	t.unlimited = ctx.Value(unlimitedKey{}) != nil
	t.Conn = entsql.Conn{ExecQuerier: t}
	return t
}

func (t *tx) ExecContext(ctx context.Context, query string, args ...any) (result sql.Result, err error) {
	err = t.run(ctx, query, func(ctx context.Context) error {
		result, err = t.conn.ExecContext(ctx, query, args...)
		return err
	})
	return result, err
}

func (t *tx) QueryContext(ctx context.Context, query string, args ...any) (rows *sql.Rows, err error) {
	err = t.run(ctx, query, func(ctx context.Context) error {
		if args, err = evaluate(args); err != nil {
			return err
		}
		if rows, err = t.conn.QueryContext(ctx, query, args...); err == nil {
			t.rows = append(t.rows, rows)
		}
		return err
	})
	return rows, err
}

// run runs a statement. After one has failed, it runs only ROLLBACK TO a savepoint, as PostgreSQL does.
func (t *tx) run(ctx context.Context, query string, statement func(context.Context) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done != nil {
		return t.done
	}
	t.rows = slices.DeleteFunc(t.rows, func(rows *sql.Rows) bool { // closed ones hold their last row, and there may be many
		_, err := rows.Columns()
		return err != nil
	})
	if t.failed != nil && !undoesSavepoint(query) {
		return fmt.Errorf("the transaction goes on only from a savepoint (use transaction.Savepoint), because a statement failed: %w",
			t.failed)
	}
	err := t.try(ctx, query, statement)
	if err == nil || t.failed == nil {
		t.failed = err
	}
	return err
}

// try runs a statement, and begins the transaction before the first one.
func (t *tx) try(ctx context.Context, query string, statement func(context.Context) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	t.trace.statements++
	if t.conn == nil {
		begun := time.Now()
		t.conn, err = t.role.begin(ctx)
		now := time.Now()
		t.trace.waited = now.Sub(begun)
		if err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		if !t.unlimited {
			t.watch.add(t, now)
		}
	}
	if ctx, err = t.role.admit(ctx, query); err == nil {
		err = statement(ctx)
	}
	if err != nil {
		return t.explain(because(ctx, err))
	}
	return nil
}

// because adds that the context has ended to the error of a statement: a server says only that it was told to cancel it.
func because(ctx context.Context, err error) error {
	if ended := ctx.Err(); err != nil && ended != nil && !errors.Is(err, ended) {
		return fmt.Errorf("%w: %w", ended, err)
	}
	return err
}

// explain says what a statement's error means in this transaction.
func (t *tx) explain(err error) error {
	switch {
	case !t.writing && refusedToWrite(err):
		return fmt.Errorf("%w (%w)", errOnlyReads, err)
	case result(err) == resultAuth, result(err) == resultCommitHook:
		err = fmt.Errorf("%w (%v)", errControl, err) // with %w it would be a constraint error to IsConstraint
	}
	if ended := t.role.err(); ended != nil {
		return fmt.Errorf("%w: %w", ended, err)
	}
	return err
}

// Commit makes the transaction durable. If it returns an error, nothing is kept.
func (t *tx) Commit() error { return t.finish(true) }

// Rollback undoes the transaction.
func (t *tx) Rollback() error { return t.finish(false) }

func (t *tx) finish(commit bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done != nil {
		return t.done
	}
	if commit && t.failed != nil {
		return errors.Join(fmt.Errorf("rolled back, because a statement failed: %w", t.failed), t.end(false))
	}
	return t.end(commit)
}

// expire rolls back a transaction that blocks others, but not while one of its statements runs: the watch calls it again.
func (t *tx) expire() {
	if !t.mu.TryLock() {
		return
	}
	defer t.mu.Unlock()
	if t.done == nil && t.role.blocksOthers() {
		_ = t.end(false) // its owner gets ErrHeldTooLong instead
		t.done = ErrHeldTooLong
	}
}

func (t *tx) end(commit bool) error {
	t.done = sql.ErrTxDone
	if t.conn == nil {
		return nil
	}
	t.watch.remove(t)
	for _, rows := range t.rows {
		_ = rows.Close() // the reader of the rows has had its error
	}
	return t.role.end(commit)
}

// evaluate replaces each driver.Valuer by its value. One that panics inside a query would keep the connection in use for ever.
func evaluate(args []any) ([]any, error) {
	for i, arg := range args {
		if _, ok := arg.(driver.Valuer); ok {
			value, err := driver.DefaultParameterConverter.ConvertValue(arg)
			if err != nil {
				return nil, fmt.Errorf("argument %d: %w", i+1, err)
			}
			args = slices.Clone(args)
			args[i] = value
		}
	}
	return args, nil
}

type unlimitedKey struct{}

// Unlimited returns a context to begin a transaction with that may block others for longer than 10 seconds. They fail then
// ([IsBusy]), so it is for what an administrator does rarely.
func Unlimited(ctx context.Context) context.Context {
	return context.WithValue(ctx, unlimitedKey{}, true)
}

const (
	maxHold    = 10 * time.Second // for which a transaction may block others
	watchPause = time.Second      // between two looks at the open transactions
)

// watch ends transactions that block others for too long. It has one timer for all of them (see pool for the cost of a timer).
type watch struct {
	mu    sync.Mutex
	open  map[*tx]time.Time // transactions and their begin
	timer *time.Timer       // nil while none is open
}

func (w *watch) add(t *tx, begun time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[t] = begun
	if w.timer == nil {
		w.timer = time.AfterFunc(watchPause, w.look)
	}
}

func (w *watch) remove(t *tx) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, t)
}

func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.open) == 0 {
		w.timer = nil
		return
	}
	w.timer.Reset(watchPause)
	for t, begun := range w.open {
		if time.Since(begun) >= maxHold {
			go t.expire()
		}
	}
}

// endReaders ends the reading transactions that block others, however old they are.
func (w *watch) endReaders() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for t := range w.open {
		if !t.writing {
			go t.expire()
		}
	}
}

func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
	clear(w.open)
}

// trace counts and measures one transaction.
type trace struct {
	statements int
	waited     time.Duration
}

type traceKey struct{}

// Trace is for transaction.Trace. It returns a context to begin a transaction with, and a function to call after its end, which
// returns how many statements ran in it, without its begin and end, and how long the first one waited for the begin.
func Trace(ctx context.Context) (traced context.Context, result func() (statements int, waited time.Duration)) {
	t := &trace{}
	return context.WithValue(ctx, traceKey{}, t), func() (int, time.Duration) { return t.statements, t.waited }
}
