// Package transaction gives each request of an Echo application one database transaction, through the ent client that
// the application generated.
//
//	e.Use(transaction.Middleware(client.BeginTx))
//
//	func record(c echo.Context) error {
//		messages := transaction.Client[*ent.Client](c).Message // bound to this request's transaction
//		…
//	}
//
// The outcome is decided once, when the handler has returned. If several rows apply, the lowest decides:
//
//	the request ended with                        the transaction is   the client gets               hooks that run
//	no response                                   committed            an empty 200                  AfterCommit
//	a response with a status below 400            committed            the response                  AfterCommit
//	a response with a status of 400 or more       rolled back          the response                  AfterRollback
//	an error                                      rolled back          the error handler's answer    AfterRollback
//	Keep true, a status of 400 or more            committed            the response                  AfterCommit
//	Keep true, an error                           committed            the error handler's answer    AfterCommit
//	Keep false, no error                          rolled back          the response                  AfterRollback
//	Doom, no error                                rolled back          the response                  AfterRollback
//	a deadline that has passed                    rolled back          503 from the error handler    AfterRollback
//	a client that hung up                         rolled back          the error handler's answer    AfterRollback
//	a response too large to be held               rolled back          the error handler's answer    AfterRollback
//	a transaction that could not begin            not begun            the error handler's answer    AfterRollback
//	a COMMIT that failed                          not committed        the error handler's answer    AfterRollback
//	a ROLLBACK that failed                        not committed        the error handler's answer    AfterRollback
//	a lost transaction, Retry or Unavailable      not committed        503 from the error handler    AfterRollback
//	a COMMIT without an answer, Unknown           not known            the error handler's answer    none
//	a panic, which goes on                        rolled back          what Recover makes of it      AfterRollback
//	a failure after a part was sent               rolled back          a connection that is closed   AfterRollback
//
// "Keep true" means that the function of [Keep] returns true for a request that would be rolled back without it. "Retry or
// Unavailable" means that one of these options reports true for the error, and "Unknown" that this one does.
//
// A writing request's response is sent after COMMIT has returned. A response that is not sent is dropped with its headers and
// cookies. But a refusal (a status of 400 or more) that the handler has written is sent, even after an error or a deadline.
// Headers without a response are dropped only together with a transaction. An *echo.HTTPError keeps its status.
//
// A reading request (GET, HEAD, OPTIONS) sees one snapshot. The snapshot ends before the response is sent, so that a slow client
// occupies no connection to the database. But a response larger than [MaxHeld] streams while the handler runs.
//
// The database decides how durable a commit is: see this module's package database, or use ent's own driver.
package transaction

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"

	"github.com/labstack/echo/v4"
)

// Tx is a transaction of an ent client, as ent generates it: *ent.Tx is one, with C being *ent.Client.
type Tx[C any] interface {
	Client() C
	Commit() error
	Rollback() error
}

// Names in the echo.Context: of the attempt, and of what Logs returns.
const key, logsKey = "daybook/transaction", "daybook/transaction/logs"

// Middleware returns the middleware. It begins a request's transaction with begin, an ent client's BeginTx, when the handler
// first asks for its [Client]. GET, HEAD and OPTIONS begin for reading only, all others for writing; a route can change this
// with [Read], [Write], [None] and [Isolation].
//
// Middlewares that answer errors, recover from panics or compress may be installed before or after it. A route has one
// transaction middleware: with a second one, also of another client, the request fails before the handler runs.
func Middleware[C any, T Tx[C]](begin func(context.Context, *sql.TxOptions) (T, error), options ...Option) echo.MiddlewareFunc {
	never := func(error) bool { return false }
	config := &config{
		begin: func(ctx context.Context, options *sql.TxOptions) (driver.Tx, any, error) {
			tx, err := begin(ctx, options)
			if err != nil {
				return nil, nil, err
			}
			return tx, tx.Client(), nil
		},
		keep:        func(_ echo.Context, status int, err error) bool { return err == nil && status < http.StatusBadRequest },
		attempts:    1,
		repeatable:  never,
		unavailable: never,
		unknown:     never,
		log:         slog.Default(),
		maxHeld:     1 << 20,
	}
	for _, option := range options {
		option(config)
	}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if c.Get(key) != nil {
				return errors.New("transaction: the middleware is installed twice on this route, but a request has one transaction")
			}
			return serve(c, next, config)
		}
	}
}

func current(c echo.Context) *attempt {
	a, ok := c.Get(key).(*attempt)
	if !ok {
		panic("transaction: the route does not have the Middleware")
	}
	return a
}

// Client returns the ent client that is bound to the request's transaction, and begins the transaction if it has not begun.
// C is the type of the client whose BeginTx the middleware was given, usually *ent.Client. After the transaction has ended,
// the client fails with [sql.ErrTxDone].
//
// If the transaction cannot begin, Client does not return: it panics, and the middleware makes the panic an error for Echo's
// error handler. So only the handler's own goroutine may call it. Without the middleware, or with another type, it panics.
func Client[C any](c echo.Context) C {
	a := current(c)
	a.used = true
	if a.begin(); a.beginErr != nil {
		panic(a.beginErr) // call recovers it
	}
	client, ok := a.client.(C)
	if !ok {
		panic(fmt.Sprintf("transaction: the client is a %T, not a %s", a.client, reflect.TypeFor[C]()))
	}
	return client
}

// Doom makes the middleware roll back the request's transaction, whatever else happens. The response is sent as it is
// written: for a dry run, for example.
func Doom(c echo.Context) { current(c).doomed = errDoomed }

// Idempotent marks a request that may run again although it is not known whether its transaction was committed (see [Unknown]),
// because it has an idempotency key, for example: the handler recognizes what it has stored before.
func Idempotent(c echo.Context) { current(c).idempotent = true }

// Read marks a route that only reads, although its method is one for writing: a search by POST, for example.
func Read(next echo.HandlerFunc) echo.HandlerFunc {
	return route(next, func(a *attempt) { a.options.ReadOnly, a.held.streams = true, true })
}

// Write marks a route that writes, although its method is one for reading:
//
//	e.GET("/unsubscribe", unsubscribe, transaction.Write)
func Write(next echo.HandlerFunc) echo.HandlerFunc {
	return route(next, func(a *attempt) { a.options.ReadOnly, a.held.streams = false, false })
}

// None marks a route without a transaction, whose response is not held either: an event stream, a WebSocket. [Client] ends
// the request with an error. The handler may begin short transactions with the application's own client. Hooks run.
func None(next echo.HandlerFunc) echo.HandlerFunc {
	return route(next, func(a *attempt) {
		a.none = true
		_ = a.held.send() // cannot fail: nothing is written yet
	})
}

// Isolation returns the mark of a route whose transaction has the isolation level. SQLite is always serializable. On PostgreSQL,
// a level above the default fails more often in a way that [Retry] repeats.
func Isolation(level sql.IsolationLevel) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return route(next, func(a *attempt) { a.options.Isolation = level })
	}
}

// route changes how a route's transaction begins.
func route(next echo.HandlerFunc, change func(*attempt)) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := current(c).prepare(change); err != nil {
			return err
		}
		return next(c)
	}
}
