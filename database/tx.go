package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/mattn/go-sqlite3"
)

// ErrRolledBack is returned by the statements and the commit of a transaction that the database has ended by
// itself, as SQLite does when the disk is full: nothing of it is kept.
var ErrRolledBack = errors.New("the database has rolled the transaction back")

// tx is a transaction that begins with its first statement. It drives a connection itself, rather than through
// sql.Tx, because sql.Tx does not notice that SQLite ended the transaction, and would let the statements after
// that commit one by one.
type tx struct {
	entsql.Conn // ent's Exec and Query, by way of ExecContext and QueryContext

	pool    *sql.DB
	begin   string
	writing bool
	trace   *trace

	mu   sync.Mutex
	conn *sql.Conn   // nil until the first statement
	rows []*sql.Rows // to close at the end, whoever forgot to: an open one would hold the connection for ever
	done bool
}

func newTx(ctx context.Context, pool *sql.DB, begin string, writing bool) dialect.Tx {
	t := &tx{pool: pool, begin: begin, writing: writing, trace: traceOf(ctx)}
	t.Conn = entsql.Conn{ExecQuerier: t}
	return t
}

// ExecContext runs a statement that returns no rows.
func (t *tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx, err := t.prepare(ctx)
	if err != nil {
		return nil, err
	}
	return t.conn.ExecContext(ctx, query, args...)
}

// QueryContext runs a statement that returns rows. They are closed at the latest with the transaction.
func (t *tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx, err := t.prepare(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := t.conn.QueryContext(ctx, query, args...)
	if err == nil {
		t.rows = append(t.rows, rows)
	}
	return rows, err
}

// prepare makes sure that the next statement runs inside the transaction, and returns the context to run it with.
func (t *tx) prepare(ctx context.Context) (context.Context, error) {
	if t.done {
		return nil, sql.ErrTxDone
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	statement := ctx
	if t.writing {
		// Interrupting a write makes SQLite roll back the whole transaction, not the statement alone.
		statement = context.WithoutCancel(ctx)
	}
	t.trace.statement()
	if t.conn == nil {
		defer t.trace.wait()()
		return statement, t.start(ctx)
	}
	return statement, t.alive()
}

// start takes a connection and begins.
func (t *tx) start(ctx context.Context) error {
	conn, err := take(ctx, t.pool)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if _, err := conn.ExecContext(context.WithoutCancel(ctx), t.begin); err != nil {
		return errors.Join(fmt.Errorf("begin: %w", err), conn.Close())
	}
	t.conn = conn
	return nil
}

// alive asks the connection itself whether the transaction is still open.
func (t *tx) alive() error {
	return t.conn.Raw(func(conn any) error {
		if conn.(*sqlite3.SQLiteConn).AutoCommit() {
			return ErrRolledBack
		}
		return nil
	})
}

// Commit makes the transaction durable. On an error nothing of it is kept.
func (t *tx) Commit() error {
	return t.end(func(ctx context.Context) error {
		if err := t.alive(); err != nil {
			return err
		}
		if _, err := t.conn.ExecContext(ctx, "COMMIT"); err != nil {
			// A deferred constraint or a full disk leaves the transaction open.
			return errors.Join(err, t.undo(ctx))
		}
		return nil
	})
}

// Rollback undoes the transaction.
func (t *tx) Rollback() error {
	return t.end(t.undo)
}

// end runs the last statement and gives the connection back.
func (t *tx) end(last func(context.Context) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return sql.ErrTxDone
	}
	t.done = true
	if t.conn == nil {
		return nil
	}
	// Closing tells again what reading them told already. What counts from here on is the last statement alone:
	// an error of anything else would make a commit look as if it had failed.
	for _, rows := range t.rows {
		_ = rows.Close()
	}
	// Whoever asked for it may be gone; the end is owed to the next one on this connection.
	err := last(context.Background())
	_ = t.conn.Close()
	return err
}

// undo leaves the connection without a transaction, or leaves the pool without the connection.
func (t *tx) undo(ctx context.Context) error {
	if err := t.alive(); errors.Is(err, ErrRolledBack) {
		return nil
	}
	_, err := t.conn.ExecContext(ctx, "ROLLBACK")
	if err == nil {
		return nil
	}
	discard := t.conn.Raw(func(any) error { return driver.ErrBadConn })
	return fmt.Errorf("roll back: %w", errors.Join(err, discard))
}
