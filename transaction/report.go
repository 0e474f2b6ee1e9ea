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
	Committed     Outcome = "committed"
	RolledBack    Outcome = "rolled back"
	CommitFailed  Outcome = "commit failed"
	CommitUnknown Outcome = "unknown" // see [Unknown]
)

// Report describes a request's transaction. The times and the number of statements are those of the last attempt.
type Report struct {
	Route      string // the method and the route's path, as in "GET /messages/:id"
	Mode       string // "read", "write", or "none" if no transaction began
	Attempts   int
	Statements int           // as counted by Trace; 0 without it
	Asked      time.Time     // when the handler asked for it; it has ended Waited + Held + Ending later
	Waited     time.Duration // for the transaction to begin
	Held       time.Duration // from its begin to its end
	Ending     time.Duration // in COMMIT or ROLLBACK
	Outcome    Outcome
	Reason     error // why it was not committed, or the handler's error that Keep committed it in spite of
}

// LogValue returns the report's fields as a group.
func (r Report) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("route", r.Route), slog.String("mode", r.Mode), slog.Int("attempts", r.Attempts),
		slog.Int("statements", r.Statements), slog.Duration("waited", r.Waited), slog.Duration("held", r.Held),
		slog.Duration("ending", r.Ending), slog.String("outcome", string(r.Outcome)),
	}
	if r.Reason != nil {
		attrs = append(attrs, slog.Any("reason", r.Reason))
	}
	return slog.GroupValue(attrs...)
}

// observe gives the report to the observer and logs it: a failure when the error handler answers, since that knows the status.
func (a *attempt) observe() {
	if !a.failed && !a.observed {
		return
	}
	a.report.Route = a.request.Method + " " + a.c.Path()
	if a.config.observer != nil {
		a.config.observer(context.WithoutCancel(a.request.Context()), a.report)
	}
	report := slog.Any("transaction", a.report)
	a.c.Set(logsKey, a.failed)
	if !a.failed || a.response.Committed {
		a.log(a.failed, "transaction", report)
		return
	}
	a.response.Before(func() { a.log(a.response.Status >= http.StatusInternalServerError, "transaction", report) })
}

// log logs at error level or at debug level, with the request's ID if the response has it.
func (a *attempt) log(failure bool, message string, attrs ...slog.Attr) {
	level := slog.LevelDebug
	if failure {
		level = slog.LevelError
	}
	if id := a.response.Header().Get(echo.HeaderXRequestID); id != "" {
		attrs = append(attrs, slog.String("id", id))
	}
	a.config.log.LogAttrs(context.WithoutCancel(a.request.Context()), level, message, attrs...)
}

// Logs is for an error handler that logs errors itself. It reports whether this package logs the error that is being answered,
// provided that the answer's status is 500 or more.
func Logs(c echo.Context) bool { return c.Get(logsKey) == true }
