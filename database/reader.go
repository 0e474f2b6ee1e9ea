package database

import (
	"context"
	"database/sql"
	"errors"
)

// reader is the role of a reading transaction on SQLite.
type reader struct {
	driver *sqliteDriver
	conn   *sql.Conn
}

func (r *reader) begin(ctx context.Context) (conn *sql.Conn, err error) {
	if r.conn, err = r.driver.readers.take(ctx); err != nil {
		return nil, err
	}
	// BEGIN waits for nothing, and with a context that cannot be cancelled the driver needs no goroutine for it.
	if _, err := r.conn.ExecContext(context.Background(), "BEGIN"); err != nil {
		_, rollbackErr := rollBack(r.conn)
		r.driver.readers.give(r.conn)
		return nil, errors.Join(err, rollbackErr)
	}
	return r.conn, nil
}

func (r *reader) admit(ctx context.Context, _ string) (context.Context, error) { return ctx, nil }

func (r *reader) err() error { return nil }

// end ends the snapshot. It returns ErrRolledBack if a statement of the application has ended it before: what was read after that
// belongs to another state of the database.
func (r *reader) end(bool) error {
	found, err := rollBack(r.conn)
	r.driver.readers.give(r.conn)
	if !found {
		return ErrRolledBack
	}
	return err
}

// blocksOthers reports whether others wait for a connection, or the write-ahead log is to be emptied, which readers block.
func (r *reader) blocksOthers() bool {
	writer := r.driver.writer
	_, logSize, err := identify(writer.file.log)
	return r.driver.readers.waiting.Load() > 0 || err == nil && logSize > writer.maxLog
}
