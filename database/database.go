// Package database opens a database for an ent client of any schema.
//
//	driver, err := database.Open(ctx, "daybook.db")
//	if err != nil { … }
//	client := ent.NewClient(ent.Driver(driver))
//	defer client.Close()
//
// It promises, on SQLite:
//
//   - a commit that returned nil is on disk (WAL, synchronous=FULL);
//   - writers do not fail with "database is locked", they take turns, in the order in which they came; and those that wait
//     together share one commit, and with it one flush of the disk (group commit), without waiting for anyone who is not
//     there yet;
//   - a transaction begins with its first statement: one that runs none costs nothing;
//   - a reading transaction sees one snapshot, cannot write, and never waits for a writer;
//   - when SQLite has ended a transaction by itself, or the shared commit fails, each transaction concerned fails, one that
//     was rolling back included: what it has read of the others never was, and nobody may be told of it;
//   - whatever a transaction left open, rows included, is closed with it.
//
// A writing transaction has the database's one writer from its first statement to its end, and those that shared a commit
// with it wait for that as well. So it should do nothing slow in between. One that keeps others waiting for 10 seconds between
// its statements is rolled back ([ErrHeldTooLong]); a statement that is running is never interrupted. Who has waited 5 seconds
// for a turn, or for another process, is refused ([IsBusy]).
//
// A reading transaction keeps the write-ahead log, the second file beside the database, from being used anew. One that is
// older than 10 seconds is ended, too, where that file has outgrown 64 MiB: it holds no more than that and what is written in
// 10 seconds, however long somebody reads, or forgets to.
//
// What an error means for the request that met it is told by [IsBusy], [IsFull], [IsReadOnly], [IsCorrupt], [IsConstraint] and
// [IsRepeatable]; nothing else about the driver needs to be known outside. That is github.com/mattn/go-sqlite3, or, where there
// is no cgo, modernc.org/sqlite.
package database

import (
	"context"
	"fmt"
	"strings"

	"entgo.io/ent/dialect"
)

// Open opens the database that url names: the path of a SQLite file, which is created when it is missing.
// The file's folder must exist and be writable, since SQLite keeps two more files there while it is open.
//
// Closing the driver, or the ent client that uses it, closes the database. An error names the file and says
// what is wrong with it.
func Open(ctx context.Context, url string) (dialect.Driver, error) {
	switch scheme, _, found := strings.Cut(url, "://"); {
	case url == "":
		return nil, fmt.Errorf("open database: the path of a SQLite file is missing")
	case found:
		return nil, fmt.Errorf("open database: %s:// is not supported, only the path of a SQLite file", scheme)
	}
	return openSQLite(ctx, url)
}
