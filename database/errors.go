package database

import (
	"errors"
	"fmt"
	"slices"
)

var (
	// ErrRolledBack is returned after the database has ended a transaction by itself, as SQLite does when the disk is full.
	// Nothing of it is kept.
	ErrRolledBack = errors.New("the database has rolled the transaction back")

	// ErrHeldTooLong is returned after a transaction was ended because it blocked others for 10 seconds, or read while the
	// write-ahead log outgrew its bound. Rows that a reader has open end early, so its Commit returns this, too.
	ErrHeldTooLong = errors.New("the transaction was ended: it blocked others for too long")

	errShared    = errors.New("the commit was shared") // marks an error of which most members of the group are not the cause
	errControl   = errors.New("a statement cannot begin or end a transaction: use Tx, Commit and Rollback")
	errOnlyReads = errors.New("the transaction only reads (a GET only reads: mark the route with transaction.Write)")

	// errBusy is the error of a wait that took too long. It names the mistake that looks like a busy database.
	errBusy = fmt.Errorf("the database is busy: no turn came within %s (a handler that writes with another client while its own "+
		"transaction is open waits for its own end)", maxWait)
)

// SQLite's primary result codes (https://sqlite.org/rescode.html), the low byte of the extended ones.
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

	resultBusySnapshot = resultBusy | 2<<8       // another connection has written since the transaction first read
	resultCommitHook   = resultConstraint | 2<<8 // control has refused a COMMIT
)

// IsBusy reports whether err means that the database was in use for too long. Trying again later may help.
func IsBusy(err error) bool { return is(err, resultBusy, resultLocked) || errors.Is(err, errBusy) }

// IsFull reports whether err means that there is no space left.
func IsFull(err error) bool { return is(err, resultFull) }

// IsReadOnly reports whether err means that a statement tried to write in a reading transaction, or to a read-only file.
func IsReadOnly(err error) bool { return is(err, resultReadOnly) || errors.Is(err, errOnlyReads) }

// IsCorrupt reports whether err means that the file is damaged, or is no database.
func IsCorrupt(err error) bool { return is(err, resultCorrupt, resultNotADB) }

// IsConstraint reports whether err means that a write violates a constraint of the schema: a value that is not unique, a row that
// others refer to.
func IsConstraint(err error) bool { return is(err, resultConstraint) }

// IsRepeatable reports whether err means that the whole transaction may succeed if it runs again at once: a commit that it shared
// has failed, and the next time it commits alone; or, in a transaction not of this package, another connection has written since.
func IsRepeatable(err error) bool {
	return result(err) == resultBusySnapshot || errors.Is(err, errShared)
}

// refusedToWrite reports whether a reader's connection has refused a statement because it writes.
func refusedToWrite(err error) bool { return is(err, resultReadOnly, resultAuth) }

// is reports whether err is SQLite's, with one of the primary result codes.
func is(err error, codes ...int) bool { return slices.Contains(codes, result(err)&0xff) }
