// Package database opens SQLite or PostgreSQL for an ent client of any schema.
//
//	driver, err := database.Open(ctx, "daybook.db") // or "postgres://…"
//	if err != nil { … }
//	client := ent.NewClient(ent.Driver(driver))
//	defer client.Close()
//
// # Transactions
//
//   - A transaction begins with its first statement; one without statements costs nothing. Its end closes its rows.
//   - When Commit returns nil, the transaction is durable. When it returns an error, nothing is kept, unless [IsUnknown] says that
//     this is not known.
//   - A reading transaction sees one snapshot and cannot write.
//   - After Exec or Query has returned an error, the transaction goes on only from a savepoint: everything else, Commit included,
//     fails with that error until the savepoint is rolled back to (see Savepoint in package transaction).
//   - No statement can begin or end a transaction, or release a savepoint of another one, whatever its text. (On SQLite without
//     cgo, it rolls back the transactions that share the commit, and all of them fail.)
//   - When the database itself ends a transaction, it fails.
//   - A statement outside of a transaction commits by itself.
//
// # SQLite
//
//   - Every transaction is serializable. A commit is on disk (WAL, synchronous=FULL), in the file that the path names.
//   - Writers do not fail with "database is locked": they take turns, in order of arrival. Those that wait at the same time
//     share one commit, and so one flush of the disk (group commit). A writer that is alone commits at once. A statement outside
//     of a transaction takes its turn, too, if it writes, but shares no commit.
//   - Readers wait for writers only as described under Limits.
//   - When SQLite itself ends a transaction (a full disk, INSERT OR ROLLBACK), or the shared commit fails, all that share it
//     fail, even those that roll back: they may have read writes that were undone.
//   - After the file, its write-ahead log or the log's index was deleted, renamed or replaced, writing fails ([ErrFileReplaced]).
//   - After a flush of the database has failed, of which a part was copied from the log earlier, writing fails: that part may be lost.
//     The log still has it, and the next process to open the database copies it again.
//
// # PostgreSQL
//
//   - A transaction has the isolation level that its options ask for. The default is read committed for one that writes (the
//     server's default), and repeatable read, a snapshot, for one that reads.
//   - How durable a commit is, the server decides (synchronous_commit, synchronous standbys).
//   - A transaction makes one query at a time: its rows must be read or closed before its next statement, and goroutines cannot
//     read side by side in it. A statement is one statement: a script runs only outside of a transaction, by Exec without
//     arguments.
//   - When a statement's context ends, the server cancels it. COMMIT is not cancelled.
//   - Connections that were lost while nobody used them are replaced. (Not on Windows: there, the first statement fails.)
//   - The database's encoding must be UTF8. The URL's parameters are those of pgx and of the server.
//
// # Limits
//
//   - A wait for a turn, for a connection, for a lock (lock_timeout) or for another process fails after 5 seconds ([IsBusy]). So
//     does a new connection to a server (connect_timeout).
//   - A server may take 10 seconds for BEGIN and for COMMIT, and then the connection is cut ([IsUnknown] for COMMIT). So is, on
//     Linux, one over TCP on which nothing is acknowledged for 10 seconds: the server's machine or the network is gone.
//   - A statement's connection is closed after 5 to 15 seconds without an answer, if the server lets nobody in either, or says that
//     it runs no statement there ([IsBusy]; [IsUnknown] for a statement outside of a transaction that may write).
//   - A writing transaction that blocks others for 10 seconds is rolled back between its statements ([ErrHeldTooLong]), unless it
//     is [Unlimited]. On
//     PostgreSQL only the server knows whom it blocks, so any writing one is. The server itself ends those of a process that has
//     stopped, after 20 seconds (idle_in_transaction_session_timeout).
//   - A running statement is interrupted only by its context, on SQLite only if it reads. SQLite's drivers may miss a context that
//     ends in the microseconds in which the statement begins.
//   - There are at most 4 connections per core to PostgreSQL, but at least 32, or pool_max_conns in the URL, of
//     which those that write have three quarters; and 2 readers per core
//     on SQLite, but at least 16.
//   - A reading transaction that is older than 10 seconds is ended when others wait for a connection or, on SQLite, when it keeps a
//     write-ahead log of more than 64 MiB from being emptied. When the log has 256 MiB, all that read have 0.1 seconds to end
//     before they are ended, and new ones wait for about 0.2 seconds. The log grows further only during a longer statement, and
//     while rows outside of a transaction or readers in other processes are open.
//
// The drivers are github.com/mattn/go-sqlite3 or, without cgo, modernc.org/sqlite, and github.com/jackc/pgx.
package database

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"entgo.io/ent/dialect"
)

// Open opens the database that url names: a server by postgres://…, or the path of a SQLite file, which is created if it is
// missing. The file's folder must exist and be writable, because SQLite keeps two more files there. Closing the driver, or the ent
// client that uses it, closes the database.
func Open(ctx context.Context, url string) (driver dialect.Driver, err error) {
	switch scheme, _, found := strings.Cut(url, "://"); {
	case url == "":
		err = errors.New("the path of a SQLite file is missing")
	case scheme == "postgres", scheme == "postgresql":
		driver, err = openPostgres(ctx, url)
	case strings.Contains(url, ":memory:"):
		err = fmt.Errorf("%s would lose everything at the end: use the path of a file", url)
	case found:
		err = fmt.Errorf("%s:// is not supported: use the path of a SQLite file, or postgres://…", scheme)
	default:
		driver, err = openSQLite(ctx, url)
	}
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return driver, nil
}
