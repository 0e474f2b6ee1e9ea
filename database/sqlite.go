package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
)

// busyTimeout is how long SQLite waits for a lock that a second process has (a backup, the sqlite3 command).
const busyTimeout = 5 * time.Second

// settings is what every connection begins with.
var settings = fmt.Sprintf("PRAGMA busy_timeout = %d;", busyTimeout.Milliseconds()) + `
	-- Readers and the writer do not block each other.
	PRAGMA journal_mode = WAL;
	-- A commit is flushed before it returns. NORMAL would lose the last ones when the power fails.
	PRAGMA synchronous = FULL;
	-- On macOS an ordinary flush stops at the disk's own cache.
	PRAGMA fullfsync = ON;
	-- Off by default, for the sake of databases from before 2009.
	PRAGMA foreign_keys = ON;
`

// readerSettings makes a connection unable to write: SQLite has no read-only transactions.
var readerSettings = settings + `
	PRAGMA query_only = ON;
	-- In KiB, of the 2000 that are usual: there are many readers, and what they share is in the system's cache.
	PRAGMA cache_size = -500;
`

// sqliteDriver is an ent driver over two pools on one file.
type sqliteDriver struct {
	entsql.Conn // ent's Exec and Query, by way of the pools
	pools
	turns *writer
	watch *watch
}

// pools sends each statement to the connections that may run it.
type pools struct {
	writer  *pool // of one connection: SQLite has one writer, and here it is known who is next
	readers *pool
}

func openSQLite(ctx context.Context, path string) (dialect.Driver, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	p := pools{
		writer: newPool(path, settings, 1),
		// More readers than cores would only take turns, but one that sends all it reads to a slow client is no burden to the
		// processor, and others shall not wait for it.
		readers: newPool(path, readerSettings, max(16, 2*runtime.NumCPU())),
	}
	if err := p.check(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %s", explain(path, err)), p.Close())
	}
	return &sqliteDriver{
		Conn:  entsql.Conn{ExecQuerier: p},
		pools: p,
		turns: &writer{pool: p.writer, log: wal{path: path + "-wal"}},
		watch: &watch{open: map[*tx]time.Time{}},
	}, nil
}

// connector gives database/sql connections with settings of their own, without a name registered for all.
type connector struct{ name, settings string }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := engine.Open(c.name)
	if err != nil {
		return nil, err
	}
	// Not with ctx: a connection outlives whoever was the first to need it.
	if _, err := conn.(driver.ExecerContext).ExecContext(context.WithoutCancel(ctx), c.settings, nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func (c connector) Driver() driver.Driver { return engine }

// check opens the first connections, and with them the file, and makes sure that it can be written.
func (p pools) check(ctx context.Context) error {
	var mode string
	if err := p.writer.db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("its file system does not support SQLite's write-ahead log (journal mode %s)", mode)
	}
	// SQLite opens a file that it may not write, begins IMMEDIATE there even, and says so only to the first statement.
	if _, err := p.writer.db.ExecContext(ctx, "BEGIN IMMEDIATE; CREATE TABLE daybook_probe (a); ROLLBACK"); err != nil && !IsBusy(err) {
		return err
	}
	return p.readers.db.PingContext(ctx)
}

// Close closes the connections. The last one copies the write-ahead log into the database, and removes it.
func (p pools) Close() error {
	return errors.Join(p.readers.Close(), p.writer.Close())
}

// ExecContext runs a statement outside of a transaction. It may write, so it is the writer's.
func (p pools) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	conn, err := p.writer.take(ctx)
	if err != nil {
		return nil, err
	}
	defer p.writer.drop(conn)
	return conn.ExecContext(ctx, query, args...)
}

// QueryContext runs a statement outside of a transaction. All that is not plainly a SELECT (INSERT … RETURNING,
// WITH … DELETE, a PRAGMA) may write and is the writer's.
func (p pools) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	args, err := evaluate(args)
	if err != nil {
		return nil, err
	}
	pool := p.writer
	if len(query) >= 6 && strings.EqualFold(query[:6], "SELECT") {
		pool = p.readers
	}
	conn, err := pool.take(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := conn.QueryContext(ctx, query, args...)
	go pool.drop(conn) // waits until the rows are closed
	return rows, err
}

// Close closes the database.
func (d *sqliteDriver) Close() error {
	d.watch.stop()
	return d.pools.Close()
}

// Dialect tells ent which SQL to write.
func (d *sqliteDriver) Dialect() string { return dialect.SQLite }

// Tx returns a transaction for writing.
func (d *sqliteDriver) Tx(ctx context.Context) (dialect.Tx, error) { return d.BeginTx(ctx, nil) }

// BeginTx returns a transaction that begins with its first statement. Each is serializable, so the isolation
// level need not be looked at.
func (d *sqliteDriver) BeginTx(ctx context.Context, options *sql.TxOptions) (dialect.Tx, error) {
	t := &tx{watch: d.watch, trace: traceOf(ctx)}
	t.Conn = entsql.Conn{ExecQuerier: t}
	if options != nil && options.ReadOnly {
		t.part = &reader{pool: d.readers, log: &d.turns.log}
		return t, nil
	}
	t.part, t.writing = &member{writer: d.turns}, true
	return t, nil
}

// explain says what is wrong with the file at path, in words for whoever named it.
func explain(path string, err error) string {
	folder := filepath.Dir(path)
	if info, statErr := os.Stat(folder); errors.Is(statErr, os.ErrNotExist) {
		return fmt.Sprintf("%s: the folder %s does not exist", path, folder)
	} else if statErr == nil && !info.IsDir() {
		return fmt.Sprintf("%s: %s is not a folder", path, folder)
	}
	if info, statErr := os.Stat(path); statErr == nil && info.IsDir() {
		return path + " is a folder, not a file"
	}
	switch {
	case is(err, resultNotADB):
		return path + " is not a SQLite database"
	case is(err, resultCantOpen, resultReadOnly, resultPerm):
		return fmt.Sprintf("%s: the file and its folder must be writable (%s)", path, err)
	}
	return fmt.Sprintf("%s: %s", path, err)
}
