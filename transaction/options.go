package transaction

import (
	"context"
	"database/sql"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// Option changes what [Middleware] does.
type Option func(*config)

// config holds the options.
type config struct {
	begin       func(context.Context, *sql.TxOptions) (ender, any, error)
	keep        func(c echo.Context, status int, err error) bool
	retries     bool
	repeatable  func(error) bool
	unavailable func(error) bool
	context     func(ctx context.Context, client any) context.Context
	trace       func(context.Context) (context.Context, func() (int, time.Duration))
	observer    func(context.Context, Report)
	log         *slog.Logger
	maxHeld     int
}

func configure(options []Option) *config {
	config := &config{
		keep:        func(_ echo.Context, status int, err error) bool { return err == nil && status < http.StatusBadRequest },
		repeatable:  func(error) bool { return false },
		unavailable: func(error) bool { return false },
		log:         slog.Default(),
		maxHeld:     1 << 20,
	}
	for _, option := range options {
		option(config)
	}
	return config
}

// Keep replaces the rule that a transaction is committed if there is no error and the status is below 400. The function gets
// the status that was written, or 0. It is not called after a panic, [Doom], the end of the request's context, or a response
// that is too large: then the transaction is rolled back.
func Keep(keep func(c echo.Context, status int, err error) bool) Option {
	return func(config *config) { config.keep = keep }
}

// Retry runs the handler again if it, one of its statements or COMMIT failed with an error for which repeatable reports
// true: pass database.IsRepeatable. Each attempt gets the request as the middleware got it, with the whole body, and an
// empty response, and only the hooks of the last one run. But what an attempt stored with c.Set stays for the next one.
//
// There are at most three attempts, with a short random pause between them. If the last one fails in the same way, the
// request is answered as with [Unavailable]. A request is not repeated when its context has ended, when the handler has read
// more than [MaxHeld] of the body, or when its response streams.
func Retry(repeatable func(error) bool) Option {
	return func(config *config) { config.retries, config.repeatable = true, repeatable }
}

// Unavailable answers an error for which unavailable reports true with 503 (Service Unavailable) and Retry-After: pass
// database.IsBusy. The error handler gets an *echo.HTTPError that wraps the error. An error that the application has made an
// *echo.HTTPError itself keeps its status.
func Unavailable(unavailable func(error) bool) Option {
	return func(config *config) { config.unavailable = unavailable }
}

// Context also puts the client into the request's context, for code that does not depend on Echo: pass your ent.NewContext,
// and ent.FromContext returns the client. A transaction then begins for every request, not when it is first used; with
// package database, still nothing is sent to the database before the first statement. On a route marked [None], the client
// in the context is one whose transaction has ended.
func Context[C any](put func(context.Context, C) context.Context) Option {
	return func(config *config) {
		config.context = func(ctx context.Context, client any) context.Context { return put(ctx, client.(C)) }
	}
}

// MaxHeld sets how many bytes are kept in memory, of the response until COMMIT and of the body for another attempt: 1 MiB
// unless set. A writing request with a larger response fails as a whole, with [ErrResponseTooLarge].
func MaxHeld(bytes int) Option {
	return func(config *config) { config.maxHeld = bytes }
}

// Trace adds to the [Report] what only the database can measure: pass database.Trace. The function gets the context that a
// transaction begins with. It returns the context to use instead, and a function that returns how many statements ran and
// how long they waited for the transaction to begin. It is only called if somebody wants every report: an observer, or a
// log at debug level.
func Trace(trace func(context.Context) (context.Context, func() (statements int, waited time.Duration))) Option {
	return func(config *config) { config.trace = trace }
}

// Observe calls the function with each request's [Report], after the hooks: for metrics.
func Observe(observer func(context.Context, Report)) Option {
	return func(config *config) { config.observer = observer }
}

// Log sets where each [Report] is logged: slog's default unless set.
//
// The level is error if the handler, its transaction or a time limit failed with an error that is answered with a status of 500
// or more: Echo's own error handler does not log it. It is debug for everything else: also for a client that hung up, for a
// response that the handler has written, and for a panic, which Echo's Recover logs.
//
// Errors that cannot be returned are logged as well: of hooks, of a rollback during a panic, of removing uploaded files.
func Log(log *slog.Logger) Option {
	return func(config *config) { config.log = log }
}
