package transaction

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/labstack/echo/v4"
)

// AfterCommit registers a function to be called after the request's transaction is committed: to publish what others can now
// see, for example. A request that succeeds without a transaction counts as committed. A function does not run if it was
// registered inside a [Savepoint] that is undone, or in an attempt that is repeated.
//
// The functions run in the order of their registration, on the request's goroutine, after the response was sent (but before the
// empty 200 of net/http, if the handler wrote nothing). An error or a panic is logged, and the next function runs. The context is
// the request's, but is not cancelled. A function may begin its own transaction.
//
// An OnCommit hook of ent's must not fail after it has called the next committer: to the middleware, that is a failed COMMIT.
func AfterCommit(c echo.Context, fn func(context.Context) error) {
	a := current(c)
	a.afterCommit = append(a.afterCommit, fn)
}

// AfterRollback is like [AfterCommit], for a transaction that was rolled back or whose COMMIT failed, also after a panic: to
// count failed requests, for example. A function that was registered inside a [Savepoint] also runs if only that is undone.
// If Echo's error handler answers, it does so after the functions.
func AfterRollback(c echo.Context, fn func(context.Context) error) {
	a := current(c)
	a.afterRollback = append(a.afterRollback, fn)
}

func (a *attempt) runHooks() {
	due := a.undone
	switch a.report.Outcome {
	case Committed:
		due = append(due, a.afterCommit...)
	case RolledBack, CommitFailed:
		due = append(due, a.afterRollback...)
	}
	if len(due) > 0 && a.response.Committed { // otherwise a flush would send a 200 that nobody wrote
		_ = http.NewResponseController(a.response).Flush() // the client need not wait for the hooks; it may be gone
	}
	for _, fn := range due {
		if err := runHook(context.WithoutCancel(a.request.Context()), fn); err != nil {
			a.log(true, "transaction: a hook failed", slog.Any("error", err))
		}
	}
}

// runHook turns a panic into an error.
func runHook(ctx context.Context, fn func(context.Context) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return fn(ctx)
}
