package transaction

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"
)

// ErrResponseTooLarge is the error of a writing request whose response is larger than [MaxHeld].
var ErrResponseTooLarge = errors.New("transaction: the response is too large to be held until the commit")

var (
	errEnded   = errors.New("transaction: the response has ended")
	errDoomed  = errors.New("transaction: the handler called Doom")
	errRefused = errors.New("transaction: the status is 400 or more, or Keep returned false")
	errPanic   = errors.New("transaction: the handler panicked")
)

// attempt is one run of a request's handler, in a transaction of its own.
type attempt struct {
	config   *config
	c        echo.Context   // with a held response during the attempt
	response *echo.Response // the client's
	request  *http.Request  // as the middleware got it
	body     *replay        // nil if there is no body, or no second attempt
	held     held
	report   Report
	observed bool // every report is wanted, and not only those of failures
	failed   bool // Echo's error handler must answer, and the client has not hung up

	options    sql.TxOptions
	none       bool      // the route has no transaction
	tx         driver.Tx // nil until it has begun
	client     any
	beginErr   error
	begun      time.Time
	trace      func() (statements int, waited time.Duration)
	used       bool  // by the handler
	idempotent bool  // the handler called Idempotent
	unknown    error // of an attempt before, which may have been committed
	doomed     error // why the transaction must be rolled back, even if the handler returns no error
	endFailed  bool  // COMMIT or ROLLBACK failed
	depth      int   // of savepoints

	afterCommit, afterRollback []func(context.Context) error
	undone                     []func(context.Context) error // of AfterRollback in a savepoint that was undone: they run in any case
}

// serve runs the handler, repeatedly if the database asks for it, and sends the response. It returns the error that Echo's
// error handler must answer.
func serve(c echo.Context, next echo.HandlerFunc, config *config) error {
	request, response := c.Request(), c.Response()
	reads := slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, request.Method)
	var body *replay
	if config.attempts > 1 && request.Body != nil && request.Body != http.NoBody {
		body = &replay{body: request.Body, max: config.maxHeld}
	}
	var unknown error
	for attempts := 1; ; attempts++ {
		a := &attempt{
			config:   config,
			c:        c,
			response: response,
			request:  request,
			body:     body,
			held: held{
				ResponseWriter: response,
				before:         make([][]string, 0, len(response.Header())),
				body:           bodies.Get().(*bytes.Buffer),
				max:            config.maxHeld,
				streams:        reads,
			},
			report:   Report{Attempts: attempts, Mode: "none"},
			observed: config.observer != nil || config.log.Enabled(request.Context(), slog.LevelDebug),
			options:  sql.TxOptions{ReadOnly: reads},
			unknown:  unknown,
		}
		for name, values := range response.Header() {
			a.held.before = append(a.held.before, append([]string{name}, values...))
		}
		repeat, err := a.serve(next)
		if !repeat {
			return err
		}
		if a.report.Outcome == CommitUnknown {
			unknown = err
		}
	}
}

// serve makes one attempt. It reports whether another one must follow, and pauses before that.
func (a *attempt) serve(next echo.HandlerFunc) (repeat bool, err error) {
	defer func() { // also if the handler panics
		a.held.free()
		if !repeat {
			_ = a.keepUnknown(nil) // of a panic
			a.runHooks()
			defer a.observe()
		}
		a.removeUploads() // after the hooks, which may read them
		a.c.SetResponse(a.response)
		a.c.Set(key, nil)
	}()
	err = a.run(next)
	if a.repeats(err) {
		a.held.drop()
		return true, err
	}
	return false, a.answer(a.keepUnknown(err))
}

// keepUnknown makes the outcome unknown, and adds the error, if an earlier attempt may have been committed and this one was not.
func (a *attempt) keepUnknown(err error) error {
	if a.unknown == nil || a.report.Outcome == Committed {
		return err
	}
	a.report.Outcome, a.endFailed = CommitUnknown, true
	return errors.Join(err, a.unknown)
}

// removeUploads removes the temporary files of a multipart form that the attempt has parsed. net/http removes those of its
// own request only, and the attempt's is often a copy: for [Retry] or [Context], or of a middleware further in.
func (a *attempt) removeUploads() {
	form := a.c.Request().MultipartForm
	if form == nil || form == a.request.MultipartForm {
		return
	}
	if err := form.RemoveAll(); err != nil {
		a.log(true, "transaction: remove uploaded files", slog.Any("error", err))
	}
}

// repeats reports whether another attempt may succeed after the error. It pauses first, for up to 20 ms per attempt so far.
func (a *attempt) repeats(err error) bool {
	repeatable := err != nil && a.config.repeatable(err)
	if a.report.Outcome == CommitUnknown {
		repeatable = a.idempotent
	}
	if !repeatable || a.report.Outcome == Committed || a.report.Attempts == a.config.attempts ||
		a.body != nil && a.body.kept.Len() > a.body.max || a.held.streaming {
		return false
	}
	select {
	case <-time.After(rand.N(time.Duration(a.report.Attempts) * 20 * time.Millisecond)):
	case <-a.request.Context().Done():
	}
	return a.request.Context().Err() == nil
}

// run calls the handler and ends the transaction. It returns why it was not committed, or the error that Keep ignored.
func (a *attempt) run(next echo.HandlerFunc) error {
	ended := false
	defer func() {
		if ended {
			return
		}
		// The handler or a hook of ent's panics. This is not recovered, so that the stack trace shows where it started.
		defer a.drop() // a hook of ent's may panic in the rollback, too
		if err := a.rollback(errPanic); err != errPanic {
			a.log(true, "transaction: rollback after a panic", slog.Any("error", err))
		}
	}()
	err := a.call(next)
	if reason := a.rollbackReason(err); reason != nil {
		err = a.rollback(reason)
	} else {
		err = a.commit(err)
	}
	ended = true
	return err
}

// call calls the handler. If the transaction could not begin, it returns that error, even if the handler ignores it.
func (a *attempt) call(next echo.HandlerFunc) (err error) {
	defer func() {
		if a.beginErr != nil {
			_ = recover()
			err = fmt.Errorf("begin transaction: %w", a.beginErr)
		}
	}()
	request := a.request
	if a.body != nil {
		request = request.WithContext(request.Context()) // a copy: a form that this attempt parses is not for the next one
		request.Body = a.body.rewind()
	}
	a.c.SetRequest(request)
	a.c.SetResponse(echo.NewResponse(&a.held, a.c.Echo()))
	a.c.Set(key, a)
	if err := a.prepare(func(*attempt) {}); err != nil {
		return err
	}
	return next(a.c)
}

// prepare changes how the transaction begins. With the option Context it begins now, if necessary for the second time.
func (a *attempt) prepare(change func(*attempt)) error {
	if a.used {
		return errors.New("transaction: the route's mark comes after the first use of the transaction")
	}
	if a.tx != nil {
		if err := a.tx.Rollback(); err != nil {
			return err
		}
		a.tx = nil
	}
	change(a)
	if a.config.context == nil || a.none {
		return nil
	}
	if a.begin(); a.beginErr != nil {
		return a.beginErr
	}
	request := a.c.Request()
	a.c.SetRequest(request.WithContext(a.config.context(request.Context(), a.client)))
	return nil
}

// begin begins the transaction if it has not begun.
func (a *attempt) begin() {
	if a.tx != nil {
		return
	}
	if a.none {
		a.beginErr = errors.New("the route is marked None")
		return
	}
	ctx := a.request.Context()
	a.report.Asked = time.Now()
	if a.config.trace != nil && a.observed {
		ctx, a.trace = a.config.trace(ctx)
	}
	a.tx, a.client, a.beginErr = a.config.begin(ctx, &a.options)
	a.begun = time.Now()
	a.report.Waited = a.begun.Sub(a.report.Asked)
}

// rollbackReason decides the outcome. It returns why the transaction must be rolled back, or nil if it must be committed.
func (a *attempt) rollbackReason(err error) error {
	switch ctx := a.request.Context(); {
	case a.beginErr != nil:
		return err
	case a.held.overflowed:
		return ErrResponseTooLarge
	case ctx.Err() != nil, a.timedOut():
		return cmp.Or(err, fmt.Errorf("transaction: the request ended early: %w", cmp.Or(context.Cause(ctx), context.DeadlineExceeded)))
	case a.doomed != nil:
		return cmp.Or(err, a.doomed)
	case a.config.keep(a.c, a.held.status, err):
		return nil
	}
	return cmp.Or(err, errRefused)
}

// timedOut reports whether a deadline of the request has passed, also one that a middleware further in has set. Such a
// middleware cancels its context whenever it returns, so only the passed deadline counts, not the cancellation.
func (a *attempt) timedOut() bool {
	return errors.Is(a.request.Context().Err(), context.DeadlineExceeded) ||
		errors.Is(a.c.Request().Context().Err(), context.DeadlineExceeded)
}

// commit commits the transaction. It returns the error of COMMIT, or else the given one, that Keep ignored.
func (a *attempt) commit(ignored error) error {
	a.report.Outcome, a.report.Reason = Committed, ignored
	err := a.end(driver.Tx.Commit)
	if err == nil {
		return ignored
	}
	// A hook of ent's may have failed before COMMIT was sent, and some databases keep the transaction open after a failed one.
	if rollbackErr := a.tx.Rollback(); rollbackErr != nil && !errors.Is(rollbackErr, sql.ErrTxDone) {
		err = errors.Join(err, fmt.Errorf("roll back transaction: %w", rollbackErr))
	}
	a.report.Outcome, a.report.Reason = CommitFailed, err
	if a.config.unknown(err) {
		a.report.Outcome = CommitUnknown
	}
	return fmt.Errorf("commit transaction: %w", err)
}

// rollback undoes the transaction. It returns the reason, joined with the error of ROLLBACK if that failed.
func (a *attempt) rollback(reason error) error {
	a.report.Outcome, a.report.Reason = RolledBack, reason
	if err := a.end(driver.Tx.Rollback); err != nil {
		return errors.Join(reason, fmt.Errorf("roll back transaction: %w", err))
	}
	return reason
}

// end ends the transaction, if there is one, and measures it.
func (a *attempt) end(last func(driver.Tx) error) error {
	if a.tx == nil {
		return nil
	}
	ending := time.Now()
	err := last(a.tx)
	a.endFailed = err != nil
	a.report.Ending = time.Since(ending)
	a.report.Held = ending.Sub(a.begun)
	a.report.Mode = "write"
	if a.options.ReadOnly {
		a.report.Mode = "read"
	}
	if a.trace != nil {
		statements, waited := a.trace()
		a.report.Statements = statements
		a.report.Waited += waited
		a.report.Held -= waited
	}
	return err
}

// answer sends the held response, or drops it and returns the error that Echo's error handler must answer.
func (a *attempt) answer(err error) error {
	if err == errDoomed || err == errRefused {
		err = nil // for the log only
	}
	// If COMMIT or ROLLBACK failed, a refusal may describe a state of the database that never was.
	refused := a.held.status >= http.StatusBadRequest && !a.held.overflowed && !a.endFailed
	if err == nil || refused {
		return cmp.Or(err, a.held.release())
	}
	a.failed = a.endFailed || !errors.Is(a.request.Context().Err(), context.Canceled)
	a.drop()
	return a.withStatus(err)
}

// drop discards the response. If a part has been sent, it closes the connection, so that the client does not take the part
// for the whole. Headers without a response, such as the Allow of Echo's error 405, stay if no transaction was lost.
func (a *attempt) drop() {
	if a.response.Committed {
		err := http.NewResponseController(a.response).SetWriteDeadline(time.Unix(1, 0))
		if errors.Is(err, http.ErrNotSupported) {
			panic(http.ErrAbortHandler) // the only other way
		}
		return // any other error means that the connection is closed already
	}
	rolledBack := (a.tx != nil || a.beginErr != nil) && a.report.Outcome != Committed
	if rolledBack || a.held.status != 0 {
		a.held.drop()
	}
}

// withStatus returns the error with status 503 if the request may succeed later.
func (a *attempt) withStatus(err error) error {
	var answered *echo.HTTPError
	busy := a.config.unavailable(err) || a.config.repeatable(err)
	if errors.As(err, &answered) || a.report.Outcome == Committed || a.report.Outcome == CommitUnknown || !busy && !a.timedOut() {
		return err
	}
	message := "The request took too long. Please try again."
	if busy {
		message = "The database is busy. Please try again."
	}
	a.response.Header().Set(echo.HeaderRetryAfter, "1") // second: a busy database recovers soon, or not at all
	return echo.NewHTTPError(http.StatusServiceUnavailable, message).SetInternal(err)
}
