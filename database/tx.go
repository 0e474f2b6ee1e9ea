package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"sync"

	entsql "entgo.io/ent/dialect/sql"
)

// ErrRolledBack is returned by the statements and the commit of a transaction that the database has ended by itself, as
// SQLite does when the disk is full: nothing of it is kept.
var ErrRolledBack = errors.New("the database has rolled the transaction back")

// tx is a transaction that begins with its first statement. It drives a connection itself, rather than through sql.Tx,
// because sql.Tx does not notice that SQLite ended the transaction, and would let the statements after that commit one by
// one.
type tx struct {
	entsql.Conn // ent's Exec and Query, by way of ExecContext and QueryContext

	role    role
	writing bool
	trace   *trace
	watch   *watch

	mu     sync.Mutex
	conn   *sql.Conn   // nil until the first statement
	rows   []*sql.Rows // to close at the end, whoever forgot to: an open one would hold the connection for ever
	failed error       // of the first statement that failed, until the savepoint that it ran in is undone
	done   error       // what every call returns since the transaction has ended
}

// role is how a transaction begins and ends on its connection: as a reader, or as a member of a group of writers.
type role interface {
	begin(context.Context) (*sql.Conn, error)
	err() error // of a transaction that has ended by itself
	commit() error
	rollback() error
	blocksOthers() bool
}

// ExecContext runs a statement that returns no rows.
func (t *tx) ExecContext(ctx context.Context, query string, args ...any) (result sql.Result, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err = t.run(ctx, query, func(ctx context.Context) error {
		result, err = t.conn.ExecContext(ctx, query, args...)
		return err
	})
	return result, err
}

// QueryContext runs a statement that returns rows. They are closed at the latest with the transaction.
func (t *tx) QueryContext(ctx context.Context, query string, args ...any) (rows *sql.Rows, err error) {
	values, invalid := evaluate(args)
	t.mu.Lock()
	defer t.mu.Unlock()
	err = t.run(ctx, query, func(ctx context.Context) error {
		if invalid != nil {
			return invalid
		}
		if rows, err = t.conn.QueryContext(ctx, query, values...); err == nil {
			t.rows = append(t.rows, rows)
		}
		return err
	})
	return rows, err
}

// run runs a statement inside the transaction, which it begins if it has not yet. When one has failed, only undoing a savepoint
// lets the transaction go on, as on PostgreSQL: what a statement has left half done is not committed by an oversight.
func (t *tx) run(ctx context.Context, query string, statement func(context.Context) error) error {
	if t.done != nil {
		return t.done
	}
	t.forgetRows()
	t.failIfEnded()
	if t.failed != nil && !undoesSavepoint(query) {
		return fmt.Errorf("the transaction goes on only from a savepoint (use transaction.Savepoint), because a statement failed: %w", t.failed)
	}
	if err := t.try(ctx, statement); err != nil {
		t.fail(err)
		return err
	}
	t.failed = nil
	return nil
}

func (t *tx) try(ctx context.Context, statement func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t.trace.statement()
	if t.conn == nil {
		if err := t.start(ctx); err != nil {
			return fmt.Errorf("begin: %w", err)
		}
	}
	if t.writing {
		// Interrupting a write makes SQLite roll back the whole transaction, and the group with it.
		ctx = context.WithoutCancel(ctx)
	}
	if err := statement(ctx); err != nil {
		return t.explain(err)
	}
	return nil
}

func (t *tx) start(ctx context.Context) (err error) {
	defer t.trace.wait()()
	t.conn, err = t.role.begin(ctx)
	if err == nil {
		t.watch.add(t)
	}
	return err
}

// fail remembers the first error of a statement.
func (t *tx) fail(err error) {
	if t.failed == nil {
		t.failed = err
	}
}

// failIfEnded notes that the transaction has ended by itself, of which the statement need not have said anything.
func (t *tx) failIfEnded() {
	if t.conn != nil && t.failed == nil {
		t.failed = t.role.err()
	}
}

// forgetRows forgets rows that are closed: each keeps what was last read from it, and a transaction may read many.
func (t *tx) forgetRows() {
	t.rows = slices.DeleteFunc(t.rows, func(rows *sql.Rows) bool {
		_, err := rows.Columns()
		return err != nil
	})
}

// explain says what a statement's error means in this transaction.
func (t *tx) explain(err error) error {
	switch {
	case !t.writing && refusedToWrite(err):
		return fmt.Errorf("%w (%w)", errOnlyReads, err)
	case result(err) == resultAuth, result(err) == resultCommitHook:
		err = fmt.Errorf("%w (%v)", errControl, err) // not %w: to IsConstraint it would look like one
	}
	if ended := t.role.err(); ended != nil {
		return fmt.Errorf("%w: %w", ended, err)
	}
	return err
}

// expire rolls back a transaction that blocks others. One of which a statement is running, or that is being ended, is left
// alone: it is looked at again.
func (t *tx) expire() {
	if !t.mu.TryLock() {
		return
	}
	defer t.mu.Unlock()
	if t.done != nil || !t.role.blocksOthers() {
		return
	}
	_ = t.end(t.role.rollback) // its owner needs to know that it was too long, and no more
	t.done = ErrHeldTooLong
}

// Commit makes the transaction durable. On an error nothing of it is kept.
func (t *tx) Commit() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done != nil {
		return t.done
	}
	t.failIfEnded()
	if t.failed == nil {
		return t.end(t.role.commit)
	}
	failed := fmt.Errorf("rolled back, because a statement failed: %w", t.failed)
	if err := t.end(t.role.rollback); err != nil {
		return errors.Join(failed, err)
	}
	return failed
}

// Rollback undoes the transaction.
func (t *tx) Rollback() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done != nil {
		return t.done
	}
	return t.end(t.role.rollback)
}

// closeRows closes the rows that the application has not closed. That says again what reading them said already.
func (t *tx) closeRows() {
	for _, rows := range t.rows {
		_ = rows.Close()
	}
}

// end ends the transaction, and gives the connection back or on.
func (t *tx) end(last func() error) error {
	t.done = sql.ErrTxDone
	if t.conn == nil {
		return nil
	}
	t.watch.remove(t)
	t.closeRows()
	return last()
}

// reader is a transaction on a connection of its own, which reads only.
type reader struct {
	readers *readers
	log     *wal
	conn    *sql.Conn
}

func (r *reader) begin(ctx context.Context) (*sql.Conn, error) {
	conn, err := r.readers.take(ctx)
	if err != nil {
		return nil, err
	}
	// It has nothing to wait for, and without a context that may be cancelled the driver needs no goroutine.
	if _, err := conn.ExecContext(context.Background(), "BEGIN"); err != nil {
		_, rollbackErr := rollBack(conn)
		r.readers.give(conn)
		return nil, errors.Join(err, rollbackErr)
	}
	r.conn = conn
	return conn, nil
}

func (r *reader) err() error { return nil }

// commit ends the snapshot. There is nothing to keep.
func (r *reader) commit() error {
	return r.rollback()
}

// rollback ends the snapshot, and fails if it is not there: a statement of the application has ended it, and what was read after
// that was not of one state of the database.
func (r *reader) rollback() error {
	found, err := rollBack(r.conn)
	r.readers.give(r.conn)
	if err == nil && !found {
		return ErrRolledBack
	}
	return err
}

// blocksOthers reports whether somebody waits for a connection, or the log is to be emptied, which it cannot while somebody
// needs what it holds.
func (r *reader) blocksOthers() bool {
	return r.readers.waiting.Load() > 0 || r.log.outgrown()
}

// evaluate asks the arguments of a query for their values. If a driver.Valuer panicked later, when database/sql asks it, the
// connection would be held for ever: QueryContext gives it back only when it returns.
func evaluate(args []any) ([]any, error) {
	valuer := func(arg any) bool { _, ok := arg.(driver.Valuer); return ok }
	if !slices.ContainsFunc(args, valuer) {
		return args, nil
	}
	args = slices.Clone(args)
	for i, arg := range args {
		if !valuer(arg) {
			continue
		}
		value, err := driver.DefaultParameterConverter.ConvertValue(arg)
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
		args[i] = value
	}
	return args, nil
}
