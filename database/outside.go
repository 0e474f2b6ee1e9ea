package database

import (
	"context"
	"database/sql"
)

// ExecContext runs a statement outside of a transaction. It may write, so it takes its turn among those who write. It shares no
// commit: some statements, VACUUM and some pragmas, cannot run in a transaction.
func (d *sqliteDriver) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	w := d.writer
	if err := w.alone(ctx); err != nil {
		return nil, err
	}
	defer w.leave()
	result, err := w.session.conn.ExecContext(ctx, query, args...)
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
	if err := d.writer.alone(ctx); err != nil {
		return nil, err
	}
	rows, err = d.writer.session.conn.QueryContext(ctx, query, args...)
	go d.writer.leave() // waits until the rows are closed
	return rows, err
}

// alone waits for a turn with no group open.
func (w *writer) alone(ctx context.Context) error {
	if _, err := w.enter(ctx, true); err != nil {
		return err
	}
	err := w.connect(ctx)
	if err != nil {
		w.pass()
	}
	return err
}

// leave passes the turn on, when the rows that are read are closed. A script may have left a transaction of its own open: BEGIN,
// and then an error before its COMMIT.
func (w *writer) leave() {
	defer w.pass()
	_ = w.disconnect() // that it is closed already is all that can be said
	if err := w.connect(context.Background()); err != nil {
		return // the database is closed, or the next one meets the error
	}
	_ = w.rollBack() // if it fails, the connection is closed, and the transaction with it
}
