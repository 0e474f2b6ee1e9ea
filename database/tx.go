package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
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

	part    part
	writing bool
	trace   *trace
	watch   *watch

	mu   sync.Mutex
	conn *sql.Conn   // nil until the first statement
	rows []*sql.Rows // to close at the end, whoever forgot to: an open one would hold the connection for ever
	over error       // what every call returns since it has ended
}

// part is how a transaction begins and ends on its connection: as a reader, or as a member of a group of writers.
type part interface {
	begin(context.Context) (*sql.Conn, error)
	commit() error
	rollback() error
	hinders() bool // others
}

// ExecContext runs a statement that returns no rows.
func (t *tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx, err := t.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return t.conn.ExecContext(ctx, query, args...)
}

// QueryContext runs a statement that returns rows. They are closed at the latest with the transaction.
func (t *tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	args, err := evaluate(args)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx, err = t.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	rows, err := t.conn.QueryContext(ctx, query, args...)
	if err == nil {
		t.rows = append(slices.DeleteFunc(t.rows, closed), rows)
	}
	return rows, err
}

// closed reports whether the rows have been closed. Each keeps what was last read from it, and a transaction may read many.
func closed(rows *sql.Rows) bool {
	_, err := rows.Columns()
	return err != nil
}

// prepare makes sure that the next statement runs inside the transaction, and returns the context to run it with.
func (t *tx) prepare(ctx context.Context, query string) (context.Context, error) {
	if t.over != nil {
		return nil, t.over
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if endsTransaction(query) {
		return nil, errEnd
	}
	t.trace.statement()
	if t.conn == nil {
		if err := t.start(ctx); err != nil {
			return nil, fmt.Errorf("begin: %w", err)
		}
	} else if err := alive(t.conn); err != nil {
		return nil, err
	}
	if t.writing {
		// Interrupting a write makes SQLite roll back the whole transaction, and the group with it.
		return context.WithoutCancel(ctx), nil
	}
	return ctx, nil
}

func (t *tx) start(ctx context.Context) (err error) {
	defer t.trace.wait()()
	t.conn, err = t.part.begin(ctx)
	if err == nil {
		t.watch.add(t)
	}
	return err
}

// expire rolls back a transaction that is in the way of others. One of which a statement is running, or that is being ended,
// is left alone: it is looked at again.
func (t *tx) expire() {
	if !t.mu.TryLock() {
		return
	}
	defer t.mu.Unlock()
	if t.over != nil || !t.part.hinders() {
		return
	}
	_ = t.end(t.part.rollback) // what its owner has to know is that it was too long
	t.over = ErrHeldTooLong
}

// Commit makes the transaction durable. On an error nothing of it is kept.
func (t *tx) Commit() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.end(t.part.commit)
}

// Rollback undoes the transaction.
func (t *tx) Rollback() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.end(t.part.rollback)
}

// end ends the transaction, and gives the connection back or on.
func (t *tx) end(last func() error) error {
	if t.over != nil {
		return t.over
	}
	t.over = sql.ErrTxDone
	if t.conn == nil {
		return nil
	}
	t.watch.remove(t)
	// Closing tells again what reading them told already. What counts from here on is the last statement alone: an error of
	// anything else would make a commit look as if it had failed.
	for _, rows := range t.rows {
		_ = rows.Close()
	}
	return last()
}

// reader is a transaction on a connection of its own, which reads only.
type reader struct {
	pool *pool
	conn *sql.Conn
	log  *wal
}

func (r *reader) begin(ctx context.Context) (*sql.Conn, error) {
	conn, err := r.pool.take(ctx)
	if err != nil {
		return nil, err
	}
	// It has nothing to wait for, and without a context that may be cancelled the driver needs no goroutine.
	if _, err := conn.ExecContext(context.Background(), "BEGIN"); err != nil {
		return nil, errors.Join(err, r.pool.undo(conn))
	}
	r.conn = conn
	return conn, nil
}

// commit ends the snapshot. There is nothing to keep.
func (r *reader) commit() error {
	return r.rollback()
}

func (r *reader) rollback() error {
	return r.pool.undo(r.conn)
}

// hinders reports whether the log has outgrown, which cannot be emptied while somebody needs what it holds.
func (r *reader) hinders() bool { return r.log.outgrown() }

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

// errEnd is the error of a statement that would end the transactions of others, too, behind their backs.
var errEnd = errors.New("a transaction is ended by its Commit or Rollback, not by a statement")

// endsTransaction reports whether the statement ends the transaction that it runs in, rather than a savepoint.
func endsTransaction(query string) bool {
	word, rest, _ := strings.Cut(strings.TrimRight(strings.TrimSpace(query), ";"), " ")
	switch strings.ToUpper(word) {
	case "COMMIT", "END":
		return true
	case "ROLLBACK":
		return !strings.Contains(strings.ToUpper(rest), "TO ")
	}
	return false
}

// alive asks the connection itself whether its transaction is still open.
func alive(conn *sql.Conn) error {
	return conn.Raw(func(conn any) error {
		open, err := inTransaction(conn)
		if err == nil && !open {
			return ErrRolledBack
		}
		return err
	})
}
