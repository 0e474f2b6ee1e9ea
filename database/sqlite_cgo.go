//go:build cgo

package database

import (
	"database/sql/driver"
	"errors"

	"github.com/mattn/go-sqlite3"
)

// engine is SQLite as its authors wrote it, in C.
var engine driver.Driver = &sqlite3.SQLiteDriver{}

// engineOptions are added to the file's name:
//   - how many prepared statements each connection keeps. An ent application has a few dozen different ones, and preparing one
//     costs more than running most of them.
//   - that a connection needs no mutex, which SQLite would lock a dozen times for each row: database/sql lets nobody use one
//     that is in use.
const engineOptions = "_stmt_cache_size=100&_mutex=no"

// inTransaction reports whether a transaction is open on the driver's connection. Nobody but SQLite knows.
func inTransaction(conn any) (bool, error) {
	return !conn.(*sqlite3.SQLiteConn).AutoCommit(), nil
}

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
