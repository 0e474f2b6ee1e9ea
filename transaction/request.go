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

// maxAttempts is how often a handler is run for one request.
const maxAttempts = 3

// maxPause bounds the pause before the second attempt; that before the third is twice as long.
const maxPause = 20 * time.Millisecond

// ErrResponseTooLarge is the error of a writing request whose response is larger than what is held until COMMIT.
var ErrResponseTooLarge = errors.New("transaction: the response is too large to be held until the commit")

// Reasons to roll back without an error of the handler's.
var (
	errDoomed  = errors.New("transaction: the handler has doomed it")
	errRefused = errors.New("transaction: the handler has answered with a refusal")
	errPanic   = errors.New("transaction: the handler panicked")
)

// ender is a transaction without its client's type.
type ender interface {
	Commit() error
	Rollback() error
}

// request is one request, for as many attempts as it takes. It knows nothing of Echo.
type request struct {
	config *config
	to     http.ResponseWriter
	http   *http.Request // as it came
	body   *replay       // nil if there is none, or no second attempt
	keep   func(status int, err error) bool
	report Report
}

// serve runs the handler, again if that may help, and lets the answer go. It returns the error that is to be answered in
// its place.
func (r *request) serve(handle func(*attempt) error) error {
	for pause := maxPause; ; pause *= 2 {
		a := r.newAttempt()
		defer a.held.free()
		err := a.run(handle)
		if r.again(a, err) && sleep(r.http.Context(), rand.N(pause)) {
			a.held.drop()
			continue
		}
		err = a.answer(err)
		a.runHooks()
		return err
	}
}

// again reports whether another attempt may help.
func (r *request) again(a *attempt, err error) bool {
	return err != nil && r.config.repeatable(err) &&
		r.report.Attempts < maxAttempts && (r.body == nil || !r.body.past) && !a.held.streaming
}

// sleep reports whether ctx has lasted for the pause.
func sleep(ctx context.Context, pause time.Duration) bool {
	over, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	<-over.Done()
	return ctx.Err() == nil
}

// attempt is one run of the handler, in a transaction of its own.
type attempt struct {
	request *request
	http    *http.Request // as the handler gets it
	held    *held
	options sql.TxOptions
	none    bool            // the route has no transaction
	inner   context.Context // the request's context when the handler returned it

	tx       ender // nil until it is begun
	client   any
	beginErr error
	begun    time.Time
	trace    func() (statements int, waited time.Duration)
	used     bool // by the handler
	doomed   bool
	broken   error // what makes it impossible to keep, whatever the handler says
	ended    bool
	lost     bool // ending it failed
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
		a.http = r.http.WithContext(r.http.Context()) // what a handler parses into it must not stay
		a.http.Body = &reader{replay: r.body}
	}
	return a
}

// use returns the client, and begins the transaction for it if need be. If it cannot, it panics, which call turns into an
// error: the handler has asked for a client, not for an error.
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
		a.beginErr = errors.New("the route is marked to have none")
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

// run calls the handler and ends the transaction. It returns why the transaction was not kept or, of one that was kept in
// spite of it, the handler's error.
func (a *attempt) run(handle func(*attempt) error) error {
	defer func() {
		if a.ended {
			return
		}
		// A panic is on its way through. It is not caught, so that whoever does sees where it came from.
		if err := a.rollback(errPanic); err != errPanic {
			a.request.config.log.ErrorContext(a.http.Context(), "transaction", "error", err)
		}
		a.held.drop()
		a.runHooks()
	}()
	err := a.call(handle)
	if reason := a.refusal(err); reason != nil {
		return a.rollback(reason)
	}
	if commitErr := a.commit(); commitErr != nil {
		return commitErr
	}
	return err
}

// call calls the handler. It returns the error with which the transaction could not begin, if it could not.
func (a *attempt) call(handle func(*attempt) error) (err error) {
	defer func() {
		if a.beginErr != nil {
			_ = recover()
			err = fmt.Errorf("begin transaction: %w", a.beginErr)
		}
	}()
	return handle(a)
}

// refusal decides the outcome: it says why the transaction must not be kept, or returns nil if it must.
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
	case a.inner != nil && errors.Is(a.inner.Err(), context.DeadlineExceeded):
		// A middleware further in has set a deadline. Having returned, it has cancelled its context in any case, so only a
		// deadline that has passed counts.
		return cmp.Or(err, fmt.Errorf("transaction: the request took too long: %w", a.inner.Err()))
	case a.doomed:
		return cmp.Or(err, errDoomed)
	case a.request.keep(a.held.status, err):
		return nil
	}
	return cmp.Or(err, errRefused)
}

func (a *attempt) commit() error {
	report := &a.request.report
	if report.Reason = a.end(ender.Commit); report.Reason != nil {
		a.lost = true
		report.Outcome = CommitFailed
		return fmt.Errorf("commit transaction: %w", report.Reason)
	}
	report.Outcome = Committed
	return nil
}

// rollback undoes the transaction and returns the reason, with the error of that if there is one.
func (a *attempt) rollback(reason error) error {
	a.request.report.Outcome, a.request.report.Reason = RolledBack, reason
	if err := a.end(ender.Rollback); err != nil {
		a.lost = true
		return errors.Join(reason, fmt.Errorf("roll back transaction: %w", err))
	}
	return reason
}

// end ends the transaction, if there is one, and takes the time.
func (a *attempt) end(last func(ender) error) error {
	if a.tx == nil {
		a.ended = true
		return nil
	}
	ending := time.Now()
	err := last(a.tx)
	a.ended = true // not if it, or a hook of ent's, panics
	a.measure(ending)
	return err
}

// answer lets the response go, or returns the error that is to be answered in its place.
func (a *attempt) answer(err error) error {
	outcome := a.request.report.Outcome
	switch {
	case err == nil, err == errDoomed, err == errRefused:
		return a.held.release()
	case a.held.refused() && !a.held.overflowed && !a.lost:
		// The handler has answered with a refusal of its own, and returned why. If the transaction could not be ended, what it
		// has read to come to that may not be true.
		if releaseErr := a.held.release(); releaseErr != nil {
			return errors.Join(err, releaseErr)
		}
		return err
	case a.held.sent(), a.tx != nil && outcome != Committed:
		a.held.drop() // of a request that has lost no transaction the headers stay: Echo's Allow, say
	}
	return a.request.asUnavailable(err)
}
