package transaction

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"log/slog"
	"time"

	"github.com/labstack/echo/v4"
)

// Option changes what [Middleware] does.
type Option func(*config)

type config struct {
	begin       func(context.Context, *sql.TxOptions) (driver.Tx, any, error)
	keep        func(c echo.Context, status int, err error) bool
	attempts    int
	repeatable  func(error) bool
	unavailable func(error) bool
	unknown     func(error) bool
	context     func(ctx context.Context, client any) context.Context
	trace       func(context.Context) (context.Context, func() (int, time.Duration))
	observer    func(context.Context, Report)
	log         *slog.Logger
	maxHeld     int
}

// Keep replaces the rule that a transaction is committed if there is no error and the status is below 400. The function gets
// the status that was written, or 0. It is not called after a panic, [Doom], the end of the request's context, or a response
// that is too large: these roll back.
func Keep(keep func(c echo.Context, status int, err error) bool) Option {
	return func(config *config) { config.keep = keep }
}

// Retry runs the handler again if it, a statement or COMMIT failed with an error for which repeatable reports true: pass
// database.IsRepeatable. Each attempt gets the request as the middleware got it, with the whole body, and an empty response.
// Only the hooks of the last attempt run. But what an attempt stored with c.Set stays for the next one.
//
// There are at most three attempts, with a short random pause between them. If the last one fails in the same way, the
// request is answered as with [Unavailable]. A request is not repeated when its context has ended, when the handler has read
// more than [MaxHeld] of the body, or when the response streams.
func Retry(repeatable func(error) bool) Option {
	return func(config *config) { config.attempts, config.repeatable = 3, repeatable }
}

// Unavailable answers an error for which unavailable reports true with 503 (Service Unavailable) and Retry-After: pass
// database.IsBusy. The error handler gets an *echo.HTTPError that wraps the error. The application's own keep their status.
func Unavailable(unavailable func(error) bool) Option {
	return func(config *config) { config.unavailable = unavailable }
}

// Unknown is for errors of COMMIT after which nobody knows whether the transaction was committed, as when the connection to the
// server is lost: pass database.IsUnknown. Then neither the functions of [AfterCommit] nor those of [AfterRollback] run, and the
// error handler gets the error as it is. [Retry] runs the handler again only if it has called [Idempotent]; if no later attempt is
// committed, the outcome stays unknown, and the error handler gets the errors of both attempts.
func Unknown(unknown func(error) bool) Option {
	return func(config *config) { config.unknown = unknown }
}

// Context also puts the client into the request's context, for code that does not depend on Echo: pass your ent.NewContext,
// and ent.FromContext returns the client. Each request then begins a transaction; with package database, still nothing is sent
// to the database before the first statement. On a route marked [None], the transaction of the context's client has ended.
func Context[C any](put func(context.Context, C) context.Context) Option {
	return func(config *config) {
		config.context = func(ctx context.Context, client any) context.Context { return put(ctx, client.(C)) }
	}
}

// MaxHeld sets how many bytes of a response are kept in memory until COMMIT, and of a body for another attempt: 1 MiB unless
// set. A writing request with a larger response fails as a whole, with [ErrResponseTooLarge].
func MaxHeld(bytes int) Option { return func(config *config) { config.maxHeld = bytes } }

// Trace adds to the [Report] what only the database can measure: pass database.Trace. The function returns the context to
// begin a transaction with, and a function that returns how many statements ran and how long they waited for the transaction
// to begin. It is only called if there is an observer, or a log at debug level.
func Trace(trace func(context.Context) (context.Context, func() (statements int, waited time.Duration))) Option {
	return func(config *config) { config.trace = trace }
}

// Observe calls the function with each request's [Report], after the hooks: for metrics and traces.
func Observe(observer func(context.Context, Report)) Option {
	return func(config *config) { config.observer = observer }
}

// Log sets where each [Report] is logged, with the response's X-Request-ID as id: slog's default unless set. The level is error
// if the error handler answers with a status of 500 or more (see [Logs]), and else debug: also for a client that hung up, and for
// a panic, which Echo's Recover logs. Errors that cannot be returned are logged, too: those of hooks, for example.
func Log(log *slog.Logger) Option { return func(config *config) { config.log = log } }
