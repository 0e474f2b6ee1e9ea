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
//	a panic, which goes on                        rolled back          what Recover makes of it      AfterRollback
//	a failure after a part was sent               rolled back          a connection that is closed   AfterRollback
//
// "Keep true" means that the function of [Keep] returns true where the transaction would be rolled back without it. "Retry or
// Unavailable" means that one of these options reports true for the error.
//
// Nothing of a writing request's response is sent before COMMIT has returned. A response that is not sent is dropped as a
// whole, with its headers and cookies; but a refusal (a status of 400 or more) that the handler has written is sent even if
// it then returns an error or a deadline has passed. An *echo.HTTPError keeps its status. Headers without a response are
// dropped with the transaction; if no transaction was lost, they stay, as without the middleware.
//
// A reading request (GET, HEAD, OPTIONS) sees one snapshot. It ends before a response of ordinary size is sent, so that a
// slow client occupies no connection to the database. A larger response streams, so a part is sent before the outcome is
// known.
//
// After its transaction has ended, the request's client fails with [sql.ErrTxDone].
//
// How a commit is made durable, how long a transaction waits to begin, and which errors are worth another attempt is for
// the database to decide: see this module's package database, or use ent's own driver.
package transaction

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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

// key is the name of the attempt in the echo.Context.
const key = "daybook/transaction"

var errTwice = errors.New("transaction: the middleware is installed twice on this route, but a request has one transaction")

// Middleware returns the middleware that ends each request's transaction; begin, an ent client's BeginTx, begins it when
// the handler first asks for its [Client]. GET, HEAD and OPTIONS begin for reading only, all others for writing; [Read],
// [Write], [None] and [Isolation] say otherwise for a route.
//
// Middlewares that answer errors, recover from panics or compress may be installed before or after it. A route has one
// transaction middleware: with a second one, also of another client, the request fails before the handler runs.
func Middleware[C any, T Tx[C]](begin func(context.Context, *sql.TxOptions) (T, error), options ...Option) echo.MiddlewareFunc {
	config := configure(options)
	config.begin = func(ctx context.Context, options *sql.TxOptions) (ender, any, error) {
		tx, err := begin(ctx, options)
		if err != nil {
			return nil, nil, err
		}
		return tx, tx.Client(), nil
	}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if c.Get(key) != nil {
				return errTwice
			}
			return serve(c, next, config)
		}
	}
}

// serve connects Echo's context with the request.
func serve(c echo.Context, next echo.HandlerFunc, config *config) error {
	original := c.Response()
	r := &request{config: config, to: original, http: c.Request()}
	r.keep = func(status int, err error) bool { return config.keep(c, status, err) }
	if config.retries && r.http.Body != nil && r.http.Body != http.NoBody {
		r.body = &replay{body: r.http.Body, max: config.maxHeld}
	}
	defer func() {
		c.SetResponse(original)
		c.Set(key, nil)
		r.observe(c)
	}()
	return r.serve(func(a *attempt) error {
		defer func() { a.final = c.Request() }()
		c.Set(key, a)
		c.SetRequest(a.http)
		c.SetResponse(echo.NewResponse(a.held, c.Echo()))
		if err := a.prepare(c, func(*attempt) {}); err != nil {
			return err
		}
		return next(c)
	})
}

// prepare changes how the transaction begins. With the option Context it begins now; a transaction that has begun already,
// but was not used, is rolled back first.
func (a *attempt) prepare(c echo.Context, change func(*attempt)) error {
	if a.used {
		return errors.New("transaction: the route's mark comes after the first use of the transaction")
	}
	if a.tx != nil {
		if err := a.tx.Rollback(); err != nil {
			return err
		}
		a.tx = nil
	}
	change(a)
	put := a.request.config.context
	if put == nil || a.none {
		return nil
	}
	if a.begin(); a.beginErr != nil {
		return a.beginErr
	}
	c.SetRequest(c.Request().WithContext(put(c.Request().Context(), a.client)))
	return nil
}

// current returns the attempt of the request.
func current(c echo.Context) *attempt {
	a, ok := c.Get(key).(*attempt)
	if !ok {
		panic("transaction: the route does not have the Middleware")
	}
	return a
}

// Client returns the ent client that is bound to the request's transaction, and begins the transaction if it has not begun.
// C is the type of the client whose BeginTx the middleware was given, usually *ent.Client.
//
// If the transaction cannot begin, Client does not return: the request ends with the error, which goes to Echo's error
// handler. So only the handler's own goroutine may call it. Without the middleware, or with another type, it panics.
func Client[C any](c echo.Context) C {
	a := current(c)
	client, ok := a.use().(C)
	if !ok {
		panic(fmt.Sprintf("transaction: the client is a %T, not a %s", a.client, reflect.TypeFor[C]()))
	}
	return client
}

// Doom makes the middleware roll back the request's transaction, whatever else happens. The response is sent as it is
// written: for a dry run, say.
func Doom(c echo.Context) {
	current(c).doomed = true
}

// Read marks a route that only reads, although its method is one for writing: a search by POST, say.
func Read(next echo.HandlerFunc) echo.HandlerFunc {
	return route(next, func(a *attempt) {
		a.options.ReadOnly = true
		a.held.streams = true
	})
}

// Write marks a route that writes, although its method is one for reading:
//
//	e.GET("/unsubscribe", unsubscribe, transaction.Write)
func Write(next echo.HandlerFunc) echo.HandlerFunc {
	return route(next, func(a *attempt) {
		a.options.ReadOnly = false
		a.held.streams = false
	})
}

// None marks a route without a transaction, whose response is not held either: an event stream, a WebSocket. [Client] ends
// such a request with an error; the handler may begin short transactions with the application's own client. Hooks run as
// on other routes.
func None(next echo.HandlerFunc) echo.HandlerFunc {
	return route(next, func(a *attempt) {
		a.none = true
		_ = a.held.stream() // cannot fail: nothing is written yet
	})
}

// Isolation returns the mark of a route whose transaction has the isolation level. SQLite ignores it, since it has only
// one: serializable.
func Isolation(level sql.IsolationLevel) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return route(next, func(a *attempt) { a.options.Isolation = level })
	}
}

// route changes how a route's transaction begins.
func route(next echo.HandlerFunc, change func(*attempt)) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := current(c).prepare(c, change); err != nil {
			return err
		}
		return next(c)
	}
}

// safe reports whether a request with the method only reads (RFC 9110, section 9.2.1).
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}
