package transaction

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/labstack/echo/v4"
)

// hooks are what is to be done when the outcome is known.
type hooks struct {
	commit   []hook // if the transaction is kept
	rollback []hook // if it is not
	undone   []hook // in any case: what they wait for was rolled back with its savepoint
}

type hook func(context.Context) error

// AfterCommit has the function called if and when the request's transaction has been committed: to tell others of what
// they can now see. A request that ends well without having begun one counts as committed.
//
// It runs when the response has been sent, on the request's goroutine and in no transaction, though it may begin one of its
// own. Functions run in the order in which they were given, each whether or not the one before it failed; an error or a
// panic is logged. The context is that of the request as it came to the middleware (so it has no client of [Context]'s), but
// does not end with it. What is given inside a [Savepoint] that is undone, or in an attempt that is repeated, does not run.
func AfterCommit(c echo.Context, fn func(context.Context) error) {
	a := current(c)
	a.hooks.commit = append(a.hooks.commit, fn)
}

// AfterRollback is like [AfterCommit], for a transaction that was rolled back or could not be committed, also by a panic: to
// count failed attempts, say. What is given inside a [Savepoint] runs as well if only that is undone. It runs before Echo's
// error handler answers, where that has to.
func AfterRollback(c echo.Context, fn func(context.Context) error) {
	a := current(c)
	a.hooks.rollback = append(a.hooks.rollback, fn)
}

// mark remembers which hooks there are, for undo.
func (h *hooks) mark() hooks {
	return *h
}

// undo does with the hooks given since the mark what their savepoint's end asks for.
func (h *hooks) undo(mark hooks) {
	h.undone = append(h.undone, h.rollback[len(mark.rollback):]...)
	h.rollback = h.rollback[:len(mark.rollback)]
	h.commit = h.commit[:len(mark.commit)]
}

// runHooks runs the hooks that the outcome asks for.
func (a *attempt) runHooks() {
	due := a.hooks.undone
	if a.request.report.Outcome == Committed {
		due = append(due, a.hooks.commit...)
	} else {
		due = append(due, a.hooks.rollback...)
	}
	if len(due) == 0 {
		return
	}
	if a.held.status != 0 {
		_ = http.NewResponseController(a.request.to).Flush() // the client has no need to wait; if it is gone, so be it
	}
	ctx := context.WithoutCancel(a.http.Context())
	for _, fn := range due {
		if err := fn.run(ctx); err != nil {
			a.request.config.log.ErrorContext(ctx, "transaction: a hook failed", "error", err)
		}
	}
}

// run calls the hook and turns a panic into an error.
func (fn hook) run(ctx context.Context) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return fn(ctx)
}
