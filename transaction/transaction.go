// Package transaction gives each request of an Echo application one database transaction, by way of the ent
// client that the application generated.
//
//	e.Use(transaction.Middleware(client.BeginTx))
//
//	func record(c echo.Context) error {
//		messages := transaction.Client[*ent.Client](c).Message // bound to this request's transaction
//		…
//	}
//
// It promises:
//
//   - whoever is sent a success has a transaction that is committed: the response of a writing request is held
//     until COMMIT returned;
//   - a request that ends in an error, a panic, a status of 400 or more, or whose context ended before COMMIT,
//     leaves nothing in the database;
//   - when COMMIT fails, the held response is dropped, headers and cookies included, and Echo's error handler
//     answers;
//   - what a reading request (GET, HEAD, OPTIONS) is shown comes from one snapshot, which ends before a response
//     of ordinary size leaves, so that a slow client holds no connection;
//   - a request that never asks for the client begins nothing.
//
// How a commit is made durable and how writers queue is left to the database: see this module's package
// database, or use ent's own driver.
package transaction

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"

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

// Middleware returns the middleware that ends each request's transaction; begin, an ent client's BeginTx, begins
// it when the handler first asks for its [Client]. GET, HEAD and OPTIONS begin for reading only, all others, and
// routes marked with [Write], for writing.
//
// Middleware that handles errors or panics, or compresses, belongs outside of it. Installed twice, it is one
// transaction.
func Middleware[C any, T Tx[C]](begin func(context.Context, *sql.TxOptions) (T, error)) echo.MiddlewareFunc {
	open := func(ctx context.Context, readOnly bool) (ender, any, error) {
		tx, err := begin(ctx, &sql.TxOptions{ReadOnly: readOnly})
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
			return run(c, next, open)
		}
	}
}

// Client returns the ent client that is bound to the request's transaction, which begins if it has not yet. C is
// the type of the client that Middleware was given the BeginTx of, usually *ent.Client.
//
// If the transaction cannot begin, Client does not return: the request ends, and the error that says why goes to
// Echo's error handler. It is to be called by the handler's own goroutine. Without Middleware, or with another
// type, it panics.
func Client[C any](c echo.Context) C {
	r, ok := c.Get(key).(*request)
	if !ok {
		panic("transaction: Client was called outside of the route's Middleware")
	}
	client, ok := r.begun().(C)
	if !ok {
		panic(fmt.Sprintf("transaction: the client is a %T, not a %T", r.client, client))
	}
	return client
}

// Write marks a route whose method is one for reading (GET, say) as one that writes:
//
//	e.GET("/record", record, transaction.Write)
func Write(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r, ok := c.Get(key).(*request)
		switch {
		case !ok:
			return errors.New("transaction: Write was used outside of the route's Middleware")
		case r.tx != nil && r.readOnly:
			return errors.New("transaction: Write came after the transaction began for reading")
		}
		r.readOnly = false
		r.held.streams = false
		return next(c)
	}
}

// safe reports whether a request with the method reads only (RFC 9110, section 9.2.1).
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}
