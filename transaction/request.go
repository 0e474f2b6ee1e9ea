package transaction

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// maxAttempts is how often the handler runs for one request.
const maxAttempts = 3

// maxPause limits the pause before the second attempt. The one before the third is at most twice as long.
const maxPause = 20 * time.Millisecond

// ErrResponseTooLarge is the error of a writing request whose response is larger than [MaxHeld].
var ErrResponseTooLarge = errors.New("transaction: the response is too large to be held until the commit")

// Reasons for a rollback that is not caused by an error of the handler's.
var (
	errDoomed  = errors.New("transaction: doomed by the handler")
	errRefused = errors.New("transaction: the response is a refusal")
	errPanic   = errors.New("transaction: the handler panicked")
)

// ender is a transaction without the type of its client.
type ender interface {
	Commit() error
	Rollback() error
}

// request is one request with all of its attempts. It does not depend on Echo.
type request struct {
	config *config
	to     http.ResponseWriter
	http   *http.Request // as the middleware got it
	body   *replay       // nil if there is no body, or no second attempt
	keep   func(status int, err error) bool
	report Report
	failed bool // with an error that Echo's error handler must answer, of a client that is still there
}

// serve runs the handler, repeatedly if the database asks for it, and sends the response. It returns the error that Echo's
// error handler must answer.
func (r *request) serve(handle func(*attempt) error) error {
	for pause := maxPause; ; pause *= 2 {
		repeat, err := r.try(handle, pause)
		if !repeat {
			return err
		}
	}
}

// try makes one attempt. It reports whether another one must follow, and pauses before that.
func (r *request) try(handle func(*attempt) error, pause time.Duration) (repeat bool, err error) {
	a := r.newAttempt()
	defer func() { // also if the handler panics
		if !repeat {
			a.runHooks()
		}
		a.removeUploads() // after the hooks, which may read them
		a.held.free()
	}()
	err = a.run(handle)
	if r.repeats(a, err) && sleep(r.http.Context(), rand.N(pause)) {
		a.held.drop()
		return true, nil
	}
	return false, a.answer(err)
}

// repeats reports whether another attempt may succeed.
func (r *request) repeats(a *attempt, err error) bool {
	return err != nil && r.config.repeatable(err) && r.report.Outcome != Committed &&
		r.report.Attempts < maxAttempts && (r.body == nil || !r.body.exceeded) && !a.held.streaming
}

// sleep pauses, and reports whether ctx has lasted until the end of the pause.
func sleep(ctx context.Context, pause time.Duration) bool {
	timer, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	<-timer.Done()
	return ctx.Err() == nil
}

// attempt is one run of the handler, in a transaction of its own.
type attempt struct {
	request *request
	http    *http.Request // as the handler gets it
	final   *http.Request // as the handler left it, or a middleware further in
	held    *held
	options sql.TxOptions
	none    bool // the route has no transaction

	tx       ender // nil until it has begun
	client   any
	beginErr error
	begun    time.Time
	trace    func() (statements int, waited time.Duration)
	used     bool // by the handler
	doomed   bool
	broken   error // why the transaction cannot be committed, even if the handler ignores it
	ended    bool
	lost     bool // COMMIT or ROLLBACK failed
	depth    int  // of savepoints
	hooks    hooks
}

func (r *request) newAttempt() *attempt {
	r.report = Report{Attempts: r.report.Attempts + 1, Mode: "none"}
	readOnly := safe(r.http.Method)
	a := &attempt{
		request: r,
		http:    r.http,
		held:    hold(r.to, r.config.maxHeld, readOnly),
		options: sql.TxOptions{ReadOnly: readOnly},
	}
	if r.body != nil {
		a.http = r.http.WithContext(r.http.Context()) // a copy: a form that this attempt parses is not for the next one
		a.http.Body = &reader{replay: r.body}
	}
	return a
}

// use returns the client, and begins the transaction first if necessary. If that fails, it panics, because the handler
// expects a client and no error; call turns the panic into an error.
func (a *attempt) use() any {
	a.used = true
	if a.tx == nil {
		a.begin()
	}
	if a.beginErr != nil {
		panic(a.beginErr)
	}
	return a.client
}

func (a *attempt) begin() {
	if a.none {
		a.beginErr = errors.New("the route is marked None")
		return
	}
	ctx, asked := a.request.http.Context(), time.Now()
	if trace := a.request.config.trace; trace != nil && a.request.observed() {
		ctx, a.trace = trace(ctx)
	}
	a.tx, a.client, a.beginErr = a.request.config.begin(ctx, &a.options)
	a.begun = time.Now()
	a.request.report.Waited = a.begun.Sub(asked)
}

// run calls the handler and ends the transaction. It returns why the transaction was lost or, if Keep kept it in spite of
// an error, that error.
func (a *attempt) run(handle func(*attempt) error) error {
	defer func() {
		if !a.ended { // the handler or a hook of ent's panics
			a.abort()
		}
	}()
	err := a.call(handle)
	if reason := a.refusal(err); reason != nil {
		return a.rollback(reason)
	}
	if commitErr := a.commit(); commitErr != nil {
		return commitErr
	}
	a.request.report.Reason = err
	return err
}

// abort rolls back during a panic. The panic is not recovered, so that its stack trace shows where it started.
func (a *attempt) abort() {
	defer a.drop() // a hook of ent's may panic in the rollback, too
	if err := a.rollback(errPanic); err != errPanic {
		a.request.config.log.ErrorContext(a.http.Context(), "transaction: rollback after a panic", "error", err)
	}
}

// call calls the handler. If the transaction could not begin, it returns that error, whatever the handler made of it.
func (a *attempt) call(handle func(*attempt) error) (err error) {
	defer func() {
		if a.beginErr != nil {
			_ = recover()
			err = fmt.Errorf("begin transaction: %w", a.beginErr)
		}
	}()
	return handle(a)
}

// refusal decides the outcome. It returns why the transaction must be rolled back, or nil if it must be committed.
func (a *attempt) refusal(err error) error {
	switch ctx := a.request.http.Context(); {
	case a.beginErr != nil:
		return err
	case a.held.overflowed:
		return ErrResponseTooLarge
	case a.broken != nil:
		return cmp.Or(err, a.broken)
	case ctx.Err() != nil:
		return cmp.Or(err, fmt.Errorf("transaction: the request ended early: %w", context.Cause(ctx)))
	case a.timedOut():
		return cmp.Or(err, fmt.Errorf("transaction: the request took too long: %w", context.DeadlineExceeded))
	case a.doomed:
		return cmp.Or(err, errDoomed)
	case a.request.keep(a.held.status, err):
		return nil
	}
	return cmp.Or(err, errRefused)
}

// timedOut reports whether a deadline of the request has passed, also one that a middleware further in has set. Such a
// middleware cancels its context whenever it returns, so only the passed deadline counts, not the cancellation.
func (a *attempt) timedOut() bool {
	return errors.Is(a.request.http.Context().Err(), context.DeadlineExceeded) ||
		a.final != nil && errors.Is(a.final.Context().Err(), context.DeadlineExceeded)
}

func (a *attempt) commit() error {
	report := &a.request.report
	if report.Reason = a.end(commitOrRollback); report.Reason != nil {
		a.lost = true
		report.Outcome = CommitFailed
		return fmt.Errorf("commit transaction: %w", report.Reason)
	}
	report.Outcome = Committed
	return nil
}

// commitOrRollback commits and, if that fails, rolls back: an OnCommit hook of ent's may have failed before COMMIT was sent,
// and some databases keep the transaction open after a failed one.
func commitOrRollback(tx ender) error {
	err := tx.Commit()
	if err == nil {
		return nil
	}
	if rollbackErr := tx.Rollback(); rollbackErr != nil && !errors.Is(rollbackErr, sql.ErrTxDone) {
		return errors.Join(err, fmt.Errorf("roll back transaction: %w", rollbackErr))
	}
	return err
}

// rollback undoes the transaction. It returns the reason, joined with the error of ROLLBACK if that failed.
func (a *attempt) rollback(reason error) error {
	a.request.report.Outcome, a.request.report.Reason = RolledBack, reason
	if err := a.end(ender.Rollback); err != nil {
		a.lost = true
		return errors.Join(reason, fmt.Errorf("roll back transaction: %w", err))
	}
	return reason
}

// end ends the transaction, if there is one, and measures it.
func (a *attempt) end(last func(ender) error) error {
	if a.tx == nil {
		a.ended = true
		return nil
	}
	ending := time.Now()
	err := last(a.tx)
	a.ended = true // not if a hook of ent's panics
	a.measure(ending)
	return err
}
