package transaction

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// Outcome is how a request's transaction ended. A request that began none has one, too.
type Outcome string

// The outcomes.
const (
	Committed    Outcome = "committed"
	RolledBack   Outcome = "rolled back"
	CommitFailed Outcome = "commit failed"
)

// Report describes a request's transaction. The times and the number of statements are those of the last attempt.
type Report struct {
	Route      string // the method and the route's path, as in "GET /messages/:id"
	Mode       string // "read", "write", or "none" if no transaction began
	Attempts   int
	Statements int           // as counted by Trace; 0 without it, or if nobody wanted reports when the transaction began
	Waited     time.Duration // for the transaction to begin
	Held       time.Duration // from its begin to its end
	Ending     time.Duration // in COMMIT or ROLLBACK
	Outcome    Outcome
	Reason     error // why it was not committed, or the handler's error that Keep committed it in spite of
}

// LogValue returns the report's fields as a group.
func (r Report) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("route", r.Route),
		slog.String("mode", r.Mode),
		slog.Int("attempts", r.Attempts),
		slog.Int("statements", r.Statements),
		slog.Duration("waited", r.Waited),
		slog.Duration("held", r.Held),
		slog.Duration("ending", r.Ending),
		slog.String("outcome", string(r.Outcome)),
	}
	if r.Reason != nil {
		attrs = append(attrs, slog.Any("reason", r.Reason))
	}
	return slog.GroupValue(attrs...)
}

// measure completes the report of a transaction whose end began at the given time.
func (a *attempt) measure(ending time.Time) {
	report := &a.request.report
	report.Ending = time.Since(ending)
	report.Held = ending.Sub(a.begun)
	report.Mode = "write"
	if a.options.ReadOnly {
		report.Mode = "read"
	}
	if a.trace != nil {
		statements, waited := a.trace()
		report.Statements = statements
		report.Waited += waited
		report.Held -= waited
	}
}

// observed reports whether somebody wants each report, and not only those of failures.
func (r *request) observed() bool {
	return r.config.observer != nil || r.config.log.Enabled(r.http.Context(), slog.LevelDebug)
}

// observe gives the report to the observer and logs it. That of a request that failed is logged when its answer is sent, since
// only Echo's error handler knows the status.
func (r *request) observe(c echo.Context) {
	if !r.failed && !r.observed() {
		return
	}
	r.report.Route = r.http.Method + " " + c.Path()
	if r.config.observer != nil {
		r.config.observer(context.WithoutCancel(r.http.Context()), r.report)
	}
	response := c.Response()
	if !r.failed || response.Committed {
		r.log(r.failed)
		return
	}
	response.Before(func() { r.log(response.Status >= http.StatusInternalServerError) })
}

// log logs the report: of a failure at error level, because Echo's own error handler logs nothing.
func (r *request) log(failure bool) {
	level := slog.LevelDebug
	if failure {
		level = slog.LevelError
	}
	r.config.log.LogAttrs(context.WithoutCancel(r.http.Context()), level, "transaction", slog.Any("transaction", r.report))
}
