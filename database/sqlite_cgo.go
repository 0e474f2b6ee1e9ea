//go:build cgo

package database

import (
	"database/sql/driver"
	"errors"
	"strings"

	"github.com/mattn/go-sqlite3"
)

// engine is SQLite as its authors wrote it, in C.
var engine driver.Driver = &sqlite3.SQLiteDriver{}

// engineOptions are added to the file's name:
//   - Each connection keeps 100 prepared statements. An ent application has a few dozen, and to prepare most of them takes longer
//     than to run them. Also, a query that is kept fails at once and not at its first row, so that the transaction notices.
//   - A connection has no mutex, which SQLite would lock a dozen times for each row. database/sql has one already.
const engineOptions = "_stmt_cache_size=100&_mutex=no"

type hookResult = int // of onCommit

// install makes the connection refuse what a reader, or a statement of an application, must not do.
func install(conn driver.Conn, c *control) {
	sqlite := conn.(*sqlite3.SQLiteConn)
	if c == nil {
		sqlite.RegisterAuthorizer(readOnly)
		return
	}
	sqlite.RegisterAuthorizer(func(action int, _, name, _ string) int {
		control := action == sqlite3.SQLITE_TRANSACTION || action == sqlite3.SQLITE_SAVEPOINT && strings.EqualFold(name, savepoint)
		if c.locked && control {
			return sqlite3.SQLITE_DENY
		}
		return sqlite3.SQLITE_OK
	})
	sqlite.RegisterCommitHook(c.onCommit)
	sqlite.RegisterRollbackHook(c.onRollback)
}

// readOnly is a reader's authorizer. It refuses to prepare a statement that writes; query_only refuses only its first row.
func readOnly(action int, pragma, value, _ string) int {
	const recursive = 33 // SQLITE_RECURSIVE, which the driver does not name
	switch action {
	case sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, recursive,
		sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT:
		return sqlite3.SQLITE_OK
	case sqlite3.SQLITE_PRAGMA:
		if !strings.EqualFold(pragma, "query_only") || value == "" {
			return sqlite3.SQLITE_OK
		}
	}
	return sqlite3.SQLITE_DENY
}

// result returns SQLite's extended result code, or 0 for an error that is not SQLite's.
func result(err error) int {
	e, _ := errors.AsType[sqlite3.Error](err)
	return max(int(e.ExtendedCode), int(e.Code)) // a backup's errors have no extended code
}

// copyOptions are added to the name of a copy's file, whose writer flushes it by itself and drops it after an error.
const copyOptions = "_journal_mode=OFF&_sync=OFF"

// pageCopy is SQLite's online backup (https://sqlite.org/backup.html).
type pageCopy struct {
	*sqlite3.SQLiteBackup
	to *sqlite3.SQLiteConn
}

// newPageCopy copies the database of a connection to the file of that name.
func newPageCopy(from driver.Conn, name string) (*pageCopy, error) {
	conn, err := engine.Open(name)
	if err != nil {
		return nil, err
	}
	to := conn.(*sqlite3.SQLiteConn)
	backup, err := to.Backup("main", from.(*sqlite3.SQLiteConn), "main")
	if err != nil {
		return nil, errors.Join(err, to.Close())
	}
	return &pageCopy{backup, to}, nil
}

func (p *pageCopy) step(pages int) (more bool, err error) {
	done, err := p.Step(pages)
	return !done, err
}

func (p *pageCopy) finish() error { return errors.Join(p.Finish(), p.to.Close()) }

// SQLiteVersion returns the version of the SQLite library in use, such as "3.50.4".
func SQLiteVersion() string {
	version, _, _ := sqlite3.Version()
	return version
}
