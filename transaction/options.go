package transaction

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// Option changes what [Middleware] does.
type Option func(*config)

// config is what the options decide.
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

// Keep replaces the rule that a transaction is kept if there is no error and the status is below 400. The status is the one
// that was written, 0 where none was. A panic, a context that ended, a response too large and [Doom] are not asked about.
func Keep(keep func(c echo.Context, status int, err error) bool) Option {
	return func(config *config) { config.keep = keep }
}

// Retry runs the handler again when it failed with an error that is repeatable, by a statement or by COMMIT: with the same
// body, and without what the attempt before has left in the response, the context and the hooks. There are at most three
// attempts, with a short random pause between them; then the request is answered as [Unavailable] is. It is not run again
// when its context has ended, when it has read more of its body than is held of a response, or when its response streams.
//
// Which errors those are is known by the database: pass database.IsRepeatable.
func Retry(repeatable func(error) bool) Option {
	return func(config *config) { config.retries, config.repeatable = true, repeatable }
}

// Unavailable answers the errors for which it reports true with 503 (Service Unavailable) and Retry-After: pass
// database.IsBusy. The error handler gets an *echo.HTTPError that wraps the error.
func Unavailable(unavailable func(error) bool) Option {
	return func(config *config) { config.unavailable = unavailable }
}

// Context puts the request's client into its context as well, where code finds it that knows nothing of Echo: pass your
// ent.NewContext, and ent.FromContext has it. Then a transaction begins for every request, not when it is first used; with
// package database that is still nothing before the first statement. On a route marked [None] the client has ended.
func Context[C any](put func(context.Context, C) context.Context) Option {
	return func(config *config) {
		config.context = func(ctx context.Context, client any) context.Context { return put(ctx, client.(C)) }
	}
}

// MaxHeld sets how many bytes of a response are held until COMMIT, and of a body for another attempt: 1 MiB unless set. A
// writing request with a larger response fails as a whole.
func MaxHeld(bytes int) Option {
	return func(config *config) { config.maxHeld = bytes }
}

// Trace adds to the [Report] what only the database knows. It is given the context that a transaction begins with, and
// returns the one to use instead, and a function that tells how many statements ran and how long they waited for the
// transaction to begin: pass database.Trace.
func Trace(trace func(context.Context) (context.Context, func() (statements int, waited time.Duration))) Option {
	return func(config *config) { config.trace = trace }
}

// Observe calls the function with each request's [Report], when all is over: for metrics.
func Observe(observer func(context.Context, Report)) Option {
	return func(config *config) { config.observer = observer }
}

// Log sets where each [Report] is logged, at debug level, and errors that have nowhere else to go (of hooks, of a rollback
// during a panic): slog's default unless set.
func Log(log *slog.Logger) Option {
	return func(config *config) { config.log = log }
}

// asUnavailable returns the error as it is to be answered. One that the application has given a status already keeps it.
func (r *request) asUnavailable(err error) error {
	var answered *echo.HTTPError
	if errors.As(err, &answered) || !r.config.unavailable(err) && !r.config.repeatable(err) {
		return err
	}
	r.to.Header().Set(echo.HeaderRetryAfter, "1") // second: what makes a database busy is over soon, or not at all
	return echo.NewHTTPError(http.StatusServiceUnavailable, "The database is busy. Please try again.").SetInternal(err)
}
