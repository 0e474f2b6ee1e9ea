// Package database opens a SQLite database for an ent client of any schema.
//
//	driver, err := database.Open(ctx, "daybook.db")
//	if err != nil { … }
//	client := ent.NewClient(ent.Driver(driver))
//	defer client.Close()
//
// # Transactions
//
//   - A transaction begins with its first statement; one without statements costs nothing. Its end closes its rows.
//   - When Commit returns nil, the transaction is on disk (WAL, synchronous=FULL), in the file that the path names.
//   - Writers do not fail with "database is locked": they take turns, in order of arrival. Those that wait at the same time
//     share one commit, and so one flush of the disk (group commit). A writer that is alone commits at once.
//   - A reading transaction sees one snapshot and cannot write. It waits for writers only as described under Limits.
//   - After Exec or Query has returned an error, the transaction goes on only from a savepoint, as on PostgreSQL: everything
//     else, Commit included, fails with that error until the savepoint is rolled back to (see Savepoint in package transaction).
//   - No statement can begin or end a transaction, or release a savepoint of another one, whatever its text. With cgo it is
//     refused; without, it rolls back the transactions that share the commit, and all of them fail.
//   - When SQLite itself ends a transaction (a full disk, INSERT OR ROLLBACK), or the shared commit fails, all that share it
//     fail, even those that roll back: they may have read writes that were undone.
//   - After the file or its write-ahead log was deleted, renamed or replaced, writing fails ([ErrFileReplaced]).
//   - A statement outside of a transaction commits by itself, and shares no commit. If it writes, it takes its turn.
//
// # Limits
//
//   - A wait for a turn, for a connection or for another process fails after 5 seconds ([IsBusy]).
//   - A writing transaction that blocks others for 10 seconds between its statements is rolled back ([ErrHeldTooLong]). A
//     running statement is never interrupted.
//   - A reading transaction that is older than 10 seconds is ended when others wait for a connection, or when it keeps a
//     write-ahead log of more than 64 MiB from being emptied. When the log has 256 MiB, all that read have 0.1 seconds to end
//     before they are ended, and new ones wait for about 0.2 seconds. The log grows further only during a longer statement, and
//     while rows outside of a transaction or readers in other processes are open.
//
// The driver is github.com/mattn/go-sqlite3 or, without cgo, modernc.org/sqlite.
package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
)

// busyTimeout is how long SQLite waits for the lock of another process (a backup, the sqlite3 command).
const busyTimeout = 5 * time.Second

// settings are those of every connection.
var settings = fmt.Sprintf("PRAGMA busy_timeout = %d;", busyTimeout.Milliseconds()) + `
	-- Readers and the writer do not block each other.
	PRAGMA journal_mode = WAL;
	-- A commit is flushed before it returns. With NORMAL, a power failure loses the last commits.
	PRAGMA synchronous = FULL;
	-- On macOS an ordinary flush stops at the disk's own cache.
	PRAGMA fullfsync = ON;
	-- Off by default, for databases from before 2009.
	PRAGMA foreign_keys = ON;
`

// readerSettings make a connection unable to write: SQLite has no read-only transactions.
var readerSettings = settings + `
	PRAGMA query_only = ON;
	-- 500 KiB instead of 2000: there are many readers, and the system caches what they share.
	PRAGMA cache_size = -500;
`

// sqliteDriver is an ent driver for one file.
type sqliteDriver struct {
	entsql.Conn // ent's Exec and Query, which call ExecContext and QueryContext
	writer      *writer
	readers     *readers
	watch       *watch
}

// Open opens the database that url names: the path of a SQLite file, which is created if it is missing. Its folder must exist and
// be writable, because SQLite keeps two more files there. Closing the driver, or the ent client that uses it, closes the database.
func Open(ctx context.Context, url string) (dialect.Driver, error) {
	switch scheme, _, found := strings.Cut(url, "://"); {
	case url == "":
		return nil, errors.New("open database: the path of a SQLite file is missing")
	case strings.Contains(url, ":memory:"):
		return nil, fmt.Errorf("open database: %s would lose everything at the end: use the path of a file", url)
	case found:
		return nil, fmt.Errorf("open database: %s:// is not supported, only the path of a SQLite file", scheme)
	}
	path, err := filepath.Abs(url)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	// Twice the cores keep the processor busy. 16 are for readers that wait, for a slow client for example.
	size := max(16, 2*runtime.NumCPU())
	d := &sqliteDriver{
		readers: &readers{db: openPool(path, size, connector{settings: readerSettings}), places: make(chan struct{}, size)},
		writer:  &writer{maxLog: maxLog, hardLog: hardLog},
		watch:   &watch{open: map[*tx]time.Time{}},
	}
	d.Conn = entsql.Conn{ExecQuerier: d}
	d.readers.giveBack(size)
	d.writer.driver = d
	d.writer.db = openPool(path, 1, connector{settings: settings, control: &d.writer.control})
	if err := d.check(ctx, path); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %s", explain(path, err)), d.Close())
	}
	return d, nil
}

// openPool returns a pool of at most size connections to the file at path. They stay open once they are used.
func openPool(path string, size int, c connector) *sql.DB {
	name := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: engineOptions}
	c.name = name.String()
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return db
}

// connector opens connections for database/sql.
type connector struct {
	name     string
	settings string
	control  *control // nil for readers
}

// Connect opens a connection. While another process creates the write-ahead log of a new file, or removes the log because it
// closes the file, SQLite does not wait for busyTimeout but fails at once, so Connect tries again.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := engine.Open(c.name)
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx) // the connection outlives the request that needs it first
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		_, err := conn.(driver.ExecerContext).ExecContext(ctx, c.settings, nil)
		if err == nil {
			install(conn, c.control)
			return conn, nil
		}
		if !IsBusy(err) || time.Since(begun) > busyTimeout {
			return nil, errors.Join(err, conn.Close())
		}
	}
}

func (c connector) Driver() driver.Driver { return engine }

// check opens the file and makes sure that it is writable.
func (d *sqliteDriver) check(ctx context.Context, path string) (err error) {
	var mode string
	if err := d.writer.db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("its file system does not support SQLite's write-ahead log (journal mode %s)", mode)
	}
	// SQLite opens a read-only file, and even begins IMMEDIATE. Only a statement that writes fails.
	const probe = "BEGIN IMMEDIATE; CREATE TABLE daybook_probe (a); ROLLBACK"
	if _, err := d.writer.db.ExecContext(ctx, probe); err != nil && !IsBusy(err) {
		return err
	}
	d.writer.file, err = openFile(path)
	return err
}

// explain says what is wrong with the file at path.
func explain(path string, err error) string {
	folder, folderErr := os.Stat(filepath.Dir(path))
	file, fileErr := os.Stat(path)
	switch {
	case errors.Is(folderErr, os.ErrNotExist):
		return fmt.Sprintf("%s: the folder %s does not exist", path, filepath.Dir(path))
	case folderErr == nil && !folder.IsDir():
		return fmt.Sprintf("%s: %s is not a folder", path, filepath.Dir(path))
	case fileErr == nil && file.IsDir():
		return fmt.Sprintf("%s is a folder: use the path of a file in it, such as %s", path, filepath.Join(path, "daybook.db"))
	case is(err, resultNotADB):
		return path + " is not a SQLite database"
	case is(err, resultCantOpen, resultReadOnly, resultPerm):
		return fmt.Sprintf("%s: the file and its folder must be writable (%s)", path, err)
	}
	return fmt.Sprintf("%s: %s", path, err)
}

// Close closes the database. Connections in use close when they are given back. The last one removes the write-ahead log.
func (d *sqliteDriver) Close() error {
	d.watch.stop()
	return errors.Join(d.readers.db.Close(), d.writer.close())
}

func (d *sqliteDriver) Dialect() string { return dialect.SQLite }

func (d *sqliteDriver) Tx(ctx context.Context) (dialect.Tx, error) { return d.BeginTx(ctx, nil) }

// BeginTx returns a transaction, which begins with its first statement. It is serializable, whatever level the options ask for.
func (d *sqliteDriver) BeginTx(ctx context.Context, options *sql.TxOptions) (dialect.Tx, error) {
	t := &tx{role: &member{writer: d.writer}, writing: true, watch: d.watch, trace: &trace{}}
	if traced, ok := ctx.Value(traceKey{}).(*trace); ok {
		t.trace = traced
	}
	if options != nil && options.ReadOnly {
		t.role, t.writing = &reader{driver: d}, false
	}
	t.Conn = entsql.Conn{ExecQuerier: t}
	return t, nil
}

// ExecContext runs a statement outside of a transaction, on the writer. VACUUM, for example, cannot run in a transaction.
func (d *sqliteDriver) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if _, err := d.writer.take(ctx, true); err != nil {
		return nil, err
	}
	defer d.writer.giveBack()
	result, err := d.writer.conn.ExecContext(ctx, query, args...)
	if err == nil {
		_, err = d.writer.file.check()
	}
	return result, err
}

// QueryContext runs a query outside of a transaction: on a reader, or on the writer if it writes (INSERT … RETURNING).
// The connection is given back when the rows are closed.
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
	if !refusedToWrite(err) {
		go d.readers.give(conn)
		return rows, err
	}
	d.readers.give(conn)
	if _, err := d.writer.take(ctx, true); err != nil {
		return nil, err
	}
	rows, err = d.writer.conn.QueryContext(ctx, query, args...)
	go d.writer.giveBack()
	return rows, err
}
