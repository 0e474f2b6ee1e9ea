package transaction

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/labstack/echo/v4"
)

// hooks are the functions to call when the outcome is known.
type hooks struct {
	commit   []hook // of AfterCommit
	rollback []hook // of AfterRollback
	undone   []hook // of AfterRollback, inside a savepoint that was undone: they run whatever the outcome is
}

type hook func(context.Context) error

// AfterCommit registers a function to be called once the request's transaction is committed: to publish what others can
// now see, say. A request that succeeds without having begun a transaction counts as committed.
//
// The function runs on the request's goroutine after the response was sent, and outside of the transaction; it may begin
// one of its own. If the handler wrote no response, it runs before the client gets an answer: net/http sends the empty 200
// when the last middleware has returned. Functions run in the order of their registration, each even if an earlier one
// failed; an error or a panic is logged. Their context is that of the request as the middleware got it (without the client
// of [Context]), but is not cancelled with it. Functions registered inside a [Savepoint] that is undone, or in an attempt
// that is repeated, do not run.
//
// An OnCommit hook of ent's must not return an error after it has called the next committer: the transaction is then
// committed, but the middleware sees a failed COMMIT. Use AfterCommit for work that may fail.
func AfterCommit(c echo.Context, fn func(context.Context) error) {
	a := current(c)
	a.hooks.commit = append(a.hooks.commit, fn)
}

// AfterRollback is like [AfterCommit], for a transaction that was rolled back or whose COMMIT failed, also after a panic:
// to count failed attempts, say. A function registered inside a [Savepoint] also runs if only the savepoint is undone.
// Where Echo's error handler answers, the functions run before it.
func AfterRollback(c echo.Context, fn func(context.Context) error) {
	a := current(c)
	a.hooks.rollback = append(a.hooks.rollback, fn)
}

// mark returns the hooks that are registered now, for undo.
func (h *hooks) mark() hooks {
	return *h
}

// undo removes the hooks that were registered since the mark, inside a savepoint that was undone.
func (h *hooks) undo(mark hooks) {
	h.undone = append(h.undone, h.rollback[len(mark.rollback):]...)
	h.rollback = h.rollback[:len(mark.rollback)]
	h.commit = h.commit[:len(mark.commit)]
}

// runHooks runs the hooks of the outcome.
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
	if a.held.sent { // to flush anything else would send a 200 that nobody wrote
		_ = http.NewResponseController(a.request.to).Flush() // the client need not wait for the hooks; it may be gone
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
