package database

import (
	"context"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
)

// Statistics are what an operator watches.
type Statistics struct {
	Size    int64 // of the database, in bytes
	LogSize int64 // of SQLite's write-ahead log, in bytes

	Connections    int // in use
	MaxConnections int
	Waiting        int // transactions and queries that wait for a connection, or for their turn to write
}

// Stats returns the statistics of a driver that [Open] has returned. If it also returns an error, only the sizes are missing. It does
// not wait for the writer, and not longer than ctx allows.
func Stats(ctx context.Context, driver dialect.Driver) (s Statistics, err error) {
	switch d := driver.(type) {
	case *sqliteDriver:
		writing, queued := d.writer.load()
		reading, waiting := d.readers.load()
		s.Connections, s.MaxConnections, s.Waiting = reading+writing, cap(d.readers.free)+1, waiting+queued
		s.Size, s.LogSize, err = d.writer.file.sizes()
	case *postgresDriver:
		_, queued := d.writers.load()
		inUse, waiting := d.pool.load()
		s.Connections, s.MaxConnections, s.Waiting = inUse, cap(d.pool.free), waiting+queued
		s.Size, err = scalar(ctx, d, "SELECT pg_database_size(current_database())")
	}
	return s, err
}

// Ping returns an error if the database cannot be read, or if SQLite's file is no longer the one that was opened ([ErrFileReplaced]).
// It does not wait for the writer, and not longer than ctx allows.
func Ping(ctx context.Context, driver dialect.Driver) error {
	query := "SELECT 1"
	if d, ok := driver.(*sqliteDriver); ok {
		if _, _, err := d.writer.file.sizes(); err != nil {
			return err
		}
		query = "SELECT count(*) FROM sqlite_schema"
	}
	_, err := scalar(ctx, driver, query)
	return err
}

// scalar returns the number that the query finds. When ctx ends, a connection to a server is cut, as at a COMMIT: the server may be
// one that answers nothing, and would not be heard to cancel the query either.
func scalar(ctx context.Context, driver dialect.Driver, query string) (int64, error) {
	var rows entsql.Rows
	if err := driver.Query(context.WithValue(ctx, ending{}, true), query, []any{}, &rows); err != nil {
		return 0, err
	}
	defer rows.Close()
	return entsql.ScanInt64(rows)
}

// ObserveCommits has the function called after each COMMIT of a group of SQLite's, with how many transactions it has made durable, and
// how long it took, which is the time of the flush. It is called by one of these transactions before that returns, when others can
// write again. On PostgreSQL, where each transaction commits for itself, it is not called.
func ObserveCommits(driver dialect.Driver, observe func(transactions int, took time.Duration)) {
	if d, ok := driver.(*sqliteDriver); ok {
		d.writer.observe.Store(&observe)
	}
}
