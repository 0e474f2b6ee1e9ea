package database

import (
	"errors"
	"fmt"
	"slices"
)

// SQLite's primary result codes (https://sqlite.org/rescode.html): the low byte of those that it returns.
const (
	resultError      = 1
	resultPerm       = 3
	resultBusy       = 5
	resultLocked     = 6
	resultReadOnly   = 8
	resultCorrupt    = 11
	resultFull       = 13
	resultCantOpen   = 14
	resultConstraint = 19
	resultAuth       = 23
	resultNotADB     = 26
)

// Extended result codes.
const (
	resultBusySnapshot = resultBusy | 2<<8       // somebody else has written since the transaction first read
	resultCommitHook   = resultConstraint | 2<<8 // control has refused a COMMIT
)

// errBusy is the cause of giving up the wait for a connection. It names the mistake that looks like a busy database.
var errBusy = fmt.Errorf("the database is busy: no turn came within %s (a handler that writes by another client while its own "+
	"transaction is open waits for its own end)", maxWait)

// errOnlyReads is the error of a write in a reading transaction.
var errOnlyReads = errors.New("the transaction only reads (a GET only reads: mark the route with transaction.Write)")

// IsBusy reports whether err means that the database was in use for too long. Trying again later may help.
func IsBusy(err error) bool {
	return is(err, resultBusy, resultLocked) || errors.Is(err, errBusy)
}

// IsFull reports whether err means that there is no room left to store anything.
func IsFull(err error) bool { return is(err, resultFull) }

// IsReadOnly reports whether err means that something was to be written where only reading is possible: in a reading
// transaction, or to a file that may not be written.
func IsReadOnly(err error) bool { return is(err, resultReadOnly) || errors.Is(err, errOnlyReads) }

// refusedToWrite reports whether a reader has refused a statement because it writes.
func refusedToWrite(err error) bool { return is(err, resultReadOnly, resultAuth) }

// IsCorrupt reports whether err means that the file is damaged, or is no database.
func IsCorrupt(err error) bool { return is(err, resultCorrupt, resultNotADB) }

// IsConstraint reports whether err means that what was to be written does not fit the schema, or what is there already: a
// value that has to be unique, a row that is referred to.
func IsConstraint(err error) bool { return is(err, resultConstraint) }

// IsRepeatable reports whether err means that the whole transaction may well succeed if it is run again at once: because
// another one came in between (on SQLite not with transactions of this package, which take turns from their beginning, but
// with those that begin as SQLite's own default has it), or because it has failed together with others, with which it was to
// share a commit. Run again at once, each commits by itself.
func IsRepeatable(err error) bool {
	return result(err) == resultBusySnapshot || errors.Is(err, errShared)
}

// is reports whether err is SQLite's, with one of the primary result codes.
func is(err error, codes ...int) bool {
	return slices.Contains(codes, result(err)&0xff)
}
