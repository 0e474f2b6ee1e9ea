package database

import (
	"context"
	"database/sql"
)

// ExecContext runs a statement outside of a transaction. It may write, so it takes its turn among those who write. It shares no
// commit: some statements, VACUUM and some pragmas, cannot run in a transaction.
func (d *sqliteDriver) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	w := d.writer
	conn, err := w.alone(ctx)
	if err != nil {
		return nil, err
	}
	defer w.leave(conn)
	result, err := conn.ExecContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	if _, err := w.file.check(); err != nil {
		return nil, err
	}
	return result, nil
}

// QueryContext runs a query outside of a transaction: on a reader, or if it turns out to write (INSERT … RETURNING), as
// ExecContext does.
func (d *sqliteDriver) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	args, err := evaluate(args)
	if err != nil {
		return nil, err
	}
	conn, err := d.readers.take(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := conn.QueryContext(ctx, query, args...)
	if err == nil {
		go d.readers.give(conn) // waits until the rows are closed
		return rows, nil
	}
	d.readers.give(conn)
	if !refusedToWrite(err) {
		return nil, err
	}
	if conn, err = d.writer.alone(ctx); err != nil {
		return nil, err
	}
	rows, err = conn.QueryContext(ctx, query, args...)
	go d.writer.leave(conn) // waits until the rows are closed
	return rows, err
}

// alone waits for a turn with no group open, and returns the connection.
func (w *writer) alone(ctx context.Context) (*sql.Conn, error) {
	if _, err := w.enter(ctx, true); err != nil {
		return nil, err
	}
	conn, err := w.connect(ctx)
	if err != nil {
		w.pass()
	}
	return conn, err
}

// leave gives the connection back, when the rows that are read from it are closed, and passes the turn on. A script may have
// left a transaction of its own open: BEGIN, and then an error before its COMMIT.
func (w *writer) leave(conn *sql.Conn) {
	defer w.pass()
	_ = conn.Close() // that it is closed already is all that can be said
	conn, err := w.db.Conn(context.Background())
	if err != nil {
		return // the database is closed, or the next one meets the error
	}
	_, _ = rollBack(conn) // if it fails, the connection is closed, and the transaction with it
	_ = conn.Close()
}
