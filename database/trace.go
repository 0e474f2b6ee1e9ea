package database

import (
	"context"
	"time"
)

// trace is what one transaction has done so far. A nil one takes no notes.
type trace struct {
	statements int
	waited     time.Duration
}

type traceKey struct{}

// Trace returns a context to begin a transaction with, and a function that returns, once that has ended, how many statements
// have run in it, not counting its begin and its end, and how long the first one waited for it to begin. It is made for
// transaction.Trace.
func Trace(ctx context.Context) (traced context.Context, result func() (statements int, waited time.Duration)) {
	t := &trace{}
	return context.WithValue(ctx, traceKey{}, t), func() (int, time.Duration) { return t.statements, t.waited }
}

func traceOf(ctx context.Context) *trace {
	t, _ := ctx.Value(traceKey{}).(*trace)
	return t
}

func (t *trace) statement() {
	if t != nil {
		t.statements++
	}
}

// wait begins to measure the wait for the transaction, and returns the function that ends it.
func (t *trace) wait() func() {
	if t == nil {
		return func() {}
	}
	begun := time.Now()
	return func() { t.waited = time.Since(begun) }
}
