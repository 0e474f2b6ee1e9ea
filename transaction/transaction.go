// Package transaction gives each request of an Echo application one database transaction, by way of the ent client that
// the application generated.
//
//	e.Use(transaction.Middleware(client.BeginTx))
//
//	func record(c echo.Context) error {
//		messages := transaction.Client[*ent.Client](c).Message // bound to this request's transaction
//		…
//	}
//
// The outcome is decided once, when the handler has returned:
//
//	the request ended with                          the transaction is     the client gets
//	no error, a status below 400, or nothing        committed              the response, after COMMIT
//	a status of 400 or more, whoever wrote it       rolled back            that response
//	an error                                        rolled back            the error handler's answer
//	a panic, which goes on                          rolled back            what Recover makes of it
//	its context ended (hung up, out of time)        rolled back            the error handler's answer, if still there
//	[Doom]                                          rolled back            the response
//	a response too large to be held                 rolled back            the error handler's answer
//	COMMIT, or ROLLBACK, failed                     not kept               the error handler's answer
//
// [Keep] replaces the rule about errors and statuses. Nothing of a writing request's response leaves before COMMIT
// returned. A response that lost its transaction is dropped whole, headers and cookies included, except for a refusal
// that the handler itself has written; a request that began nothing is answered as it would be without the middleware.
//
// A reading request (GET, HEAD, OPTIONS) sees one snapshot. It ends before a response of ordinary size leaves, so that a
// slow client holds no connection; a larger one streams, and is broken off if it fails.
//
// After the end, the request's client fails with [sql.ErrTxDone]: it writes nothing.
//
// How a commit is made durable, how long a transaction waits for its turn, and which errors are worth another attempt is
// the database's to know: see this module's package database, or use ent's own driver.
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

// key is where the request's transaction is found in its echo.Context.
const key = "daybook/transaction"

// Middleware returns the middleware that ends each request's transaction; begin, an ent client's BeginTx, begins it when
// the handler first asks for its [Client]. GET, HEAD and OPTIONS begin for reading only, all others for writing; [Read],
// [Write], [None] and [Isolation] say otherwise for a route.
//
// What answers errors, recovers from panics or compresses may stand on either side of it. Installed twice, it is one
// transaction.
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
				return next(c)
			}
			return serve(c, next, config)
		}
	}
}

// serve is where Echo ends and the request begins.
func serve(c echo.Context, next echo.HandlerFunc, config *config) error {
	original := c.Response()
	r := &request{config: config, to: original, http: c.Request()}
	r.keep = func(status int, err error) bool { return config.keep(c, status, err) }
	var restore func()
	if config.retries {
		restore = snapshotValues(c)
		if r.http.Body != nil && r.http.Body != http.NoBody {
			r.body = &replay{body: r.http.Body, max: config.maxHeld}
		}
	}
	defer func() {
		c.SetResponse(original)
		c.Set(key, nil)
		r.observe(c)
	}()
	return r.serve(func(a *attempt) error {
		if r.report.Attempts > 1 {
			restore()
		}
		c.Set(key, a)
		c.SetRequest(a.http)
		c.SetResponse(echo.NewResponse(a.held, c.Echo()))
		if err := a.prepare(c, func(*attempt) {}); err != nil {
			return err
		}
		err := next(c)
		a.inner = c.Request().Context()
		return err
	})
}

// prepare changes how the transaction begins. If the client is to be found in the request's context, it begins now, and
// one that has begun already is given up: nothing has run in it.
func (a *attempt) prepare(c echo.Context, change func(*attempt)) error {
	if a.used {
		return errors.New("transaction: the route's mark comes after its transaction was used")
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

// current returns the attempt that c belongs to.
func current(c echo.Context) *attempt {
	a, ok := c.Get(key).(*attempt)
	if !ok {
		panic("transaction: used outside of the Middleware")
	}
	return a
}

// Client returns the ent client that is bound to the request's transaction, which begins if it has not yet. C is the type
// of the client whose BeginTx the middleware was given, usually *ent.Client.
//
// If the transaction cannot begin, Client does not return: the request ends, and the error that says why goes to Echo's
// error handler. So it is to be called by the handler's own goroutine. Outside of the middleware, or with another type, it
// panics.
func Client[C any](c echo.Context) C {
	a := current(c)
	client, ok := a.use().(C)
	if !ok {
		panic(fmt.Sprintf("transaction: the client is a %T, not a %s", a.client, reflect.TypeFor[C]()))
	}
	return client
}

// Doom makes sure that the request's transaction is rolled back, whatever else happens. The response leaves as it is
// written: for a dry run, say.
func Doom(c echo.Context) {
	current(c).doomed = true
}

// Read marks a route that only reads, although its method says otherwise: a search by POST, say.
func Read(next echo.HandlerFunc) echo.HandlerFunc {
	return route(next, func(a *attempt) {
		a.options.ReadOnly = true
		a.held.streams = true
	})
}

// Write marks a route that writes, although its method says otherwise:
//
//	e.GET("/unsubscribe", unsubscribe, transaction.Write)
func Write(next echo.HandlerFunc) echo.HandlerFunc {
	return route(next, func(a *attempt) {
		a.options.ReadOnly = false
		a.held.streams = false
	})
}

// None marks a route without a transaction, whose response is not held either: an event stream, a WebSocket. There, [Client]
// ends the request with an error; the handler may run short transactions of the application's own client.
func None(next echo.HandlerFunc) echo.HandlerFunc {
	return route(next, func(a *attempt) {
		a.none = true
		_ = a.held.stream() // nothing is written yet that could fail to be sent
	})
}

// Isolation returns the mark of a route whose transaction has the isolation level. SQLite has one only, which is
// serializable, and takes no notice.
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
