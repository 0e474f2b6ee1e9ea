package database

import (
	"errors"
	"fmt"

	"github.com/mattn/go-sqlite3"
)

// errBusy is the cause of giving up the wait for a connection. It names the mistake that looks like a busy database.
var errBusy = fmt.Errorf("the database is busy: no turn came within %s (a transaction that writes, while it is open, "+
	"outside of itself waits for its own end)", maxWait)

// IsBusy reports whether err means that the database was in use for too long. Trying again later may help.
func IsBusy(err error) bool {
	switch code(err) {
	case sqlite3.ErrBusy, sqlite3.ErrLocked:
		return true
	}
	return errors.Is(err, errBusy)
}

// IsRepeatable reports whether err means that the whole transaction may well succeed if it is run again at once: because
// another one came in between (on SQLite not with transactions of this package, which take turns from their beginning, but
// with those that begin as SQLite's own default has it), or because a deferred constraint of one transaction has failed the
// COMMIT that it shared with others. Run again, each commits by itself.
func IsRepeatable(err error) bool {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return false
	}
	return e.ExtendedCode == sqlite3.ErrBusySnapshot || e.Code == sqlite3.ErrConstraint && errors.Is(err, errShared)
}

// IsFull reports whether err means that there is no room left to store anything.
func IsFull(err error) bool {
	return code(err) == sqlite3.ErrFull
}

// code returns SQLite's primary result code (https://sqlite.org/rescode.html), or 0 for other errors.
func code(err error) sqlite3.ErrNo {
	var e sqlite3.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}
