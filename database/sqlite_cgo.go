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
//   - how many prepared statements each connection keeps. An ent application has a few dozen different ones, and preparing one
//     costs more than running most of them. A query whose statement is kept also fails at once rather than when its first row is
//     read, which is how a transaction learns of it.
//   - that a connection needs no mutex, which SQLite would lock a dozen times for each row: database/sql lets nobody use one
//     that is in use.
const engineOptions = "_stmt_cache_size=100&_mutex=no"

// install has the connection refuse what a reader, or the statements of an application, may not do.
func install(conn driver.Conn, c *control) {
	sqlite := conn.(*sqlite3.SQLiteConn)
	if c == nil {
		sqlite.RegisterAuthorizer(readOnly)
		return
	}
	sqlite.RegisterAuthorizer(func(action int, operation, name, _ string) int {
		if action == sqlite3.SQLITE_TRANSACTION && c.refuses("") || action == sqlite3.SQLITE_SAVEPOINT && c.refuses(name) {
			return sqlite3.SQLITE_DENY
		}
		return sqlite3.SQLITE_OK
	})
	sqlite.RegisterCommitHook(func() int {
		if c.onCommit() {
			return 1
		}
		return 0
	})
	sqlite.RegisterRollbackHook(c.onRollback)
}

// readOnly is the authorizer of a reader. It refuses when a statement is prepared; query_only refuses only when the first row is
// asked for.
func readOnly(action int, pragma, value, _ string) int {
	switch action {
	case sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqliteRecursive,
		sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT:
		return sqlite3.SQLITE_OK
	case sqlite3.SQLITE_PRAGMA:
		if !strings.EqualFold(pragma, "query_only") || value == "" {
			return sqlite3.SQLITE_OK
		}
	}
	return sqlite3.SQLITE_DENY
}

// sqliteRecursive is the action of a recursive SELECT, which the driver does not name.
const sqliteRecursive = 33

// result returns SQLite's extended result code, or 0 for an error that is not SQLite's.
func result(err error) int {
	if e, ok := errors.AsType[sqlite3.Error](err); ok {
		return int(e.ExtendedCode)
	}
	return 0
}

// SQLiteVersion returns the version of the SQLite library in use, such as "3.50.4".
func SQLiteVersion() string {
	version, _, _ := sqlite3.Version()
	return version
}
