package handlers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	"daybook/database"
	"daybook/ent/schema"
	"daybook/views"
)

// Where handlers and the error handler leave something for one another in the echo.Context.
const (
	typed  = "typed"  // the message that is being recorded: when that fails, the form comes back with it
	failed = "failed" // the request's error has been dealt with
)

// statusClientClosed is what the log shows for a client that did not wait for its answer, as nginx has it.
const statusClientClosed = 499

// refuse returns the error of a request that is the client's to mend. The sentence is for the client.
func refuse(status int, sentence string, args ...any) *echo.HTTPError {
	return echo.NewHTTPError(status, fmt.Sprintf(sentence, args...))
}

// fail is the one door through which an error becomes an answer, and the only place that logs it.
func (b book) fail(err error, c echo.Context) {
	if c.Get(failed) != nil {
		return // the request log has had it answered; Echo asks again
	}
	c.Set(failed, true)
	problem := describe(err)
	if problem.Status >= http.StatusInternalServerError && errors.Is(c.Request().Context().Err(), context.Canceled) {
		problem = describe(context.Canceled) // whatever writing to a client that has left fails with
	}
	if problem.Status >= http.StatusInternalServerError || database.IsConstraint(err) {
		problem.ID = c.Response().Header().Get(echo.HeaderXRequestID)
		b.log.LogAttrs(c.Request().Context(), slog.LevelError, "request failed",
			slog.String("method", c.Request().Method),
			slog.String("route", c.Path()),
			slog.String("id", problem.ID),
			slog.Any("error", err),
		)
	}
	if c.Response().Committed {
		return // too late for another answer
	}
	if problem.Status == http.StatusServiceUnavailable {
		c.Response().Header().Set(echo.HeaderRetryAfter, "1")
	}
	if err := send(c, problem.Status, formatOfError(c), viewOfError(c, problem)); err != nil {
		b.log.LogAttrs(c.Request().Context(), slog.LevelError, "error page failed", slog.Any("error", err))
	}
}

// formatOfError is the client's, or text for one that will have nothing that there is.
func formatOfError(c echo.Context) format {
	format, err := negotiate(c.Request(), formats...)
	if err != nil {
		return text
	}
	return format
}

// viewOfError is the problem, with the form if a message was on its way.
func viewOfError(c echo.Context, problem views.Problem) views.View {
	if value, ok := c.Get(typed).(string); ok {
		return views.Form{Problem: problem, Value: value, Key: newKey()}
	}
	return problem
}

// describe says what an error means to the client. An error that nobody foresaw is not shown.
func describe(err error) views.Problem {
	problem := func(status int, sentence string) views.Problem {
		return views.Problem{Status: status, Detail: sentence}
	}
	var invalid schema.Invalid
	var refused *echo.HTTPError
	switch {
	case errors.As(err, &invalid):
		return problem(http.StatusUnprocessableEntity, "The message "+invalid.Error()+".")
	case errors.As(err, &refused):
		return problem(refused.Code, sentence(refused))
	case database.IsFull(err):
		return problem(http.StatusInsufficientStorage, "The disk is full, so nothing was recorded.")
	case database.IsConstraint(err):
		return problem(http.StatusUnprocessableEntity, "That does not fit what is there already, and nothing was changed.")
	case database.IsReadOnly(err):
		return problem(http.StatusInternalServerError, "Nothing can be recorded here now: the database may only be read.")
	case errors.Is(err, database.ErrFileReplaced):
		return problem(http.StatusInternalServerError, "Nothing can be recorded here now: the database's file was moved or replaced.")
	case database.IsCorrupt(err):
		return problem(http.StatusInternalServerError, "The database is damaged, and whoever runs this must look after it.")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, database.ErrHeldTooLong):
		return problem(http.StatusServiceUnavailable, "That took too long. Please try again.")
	case errors.Is(err, context.Canceled):
		return problem(statusClientClosed, "The request was cancelled.")
	}
	return problem(http.StatusInternalServerError, "Something went wrong here, and nothing was changed.")
}

// sentence returns what the error was given to say, or says it for those that Echo makes.
func sentence(refused *echo.HTTPError) string {
	said, ok := refused.Message.(string)
	if ok && said != http.StatusText(refused.Code) {
		return said
	}
	switch refused.Code {
	case http.StatusNotFound:
		return "There is nothing at this address."
	case http.StatusMethodNotAllowed:
		return "This address does not take that method."
	case http.StatusRequestEntityTooLarge:
		return "The request is larger than any message may be."
	}
	return http.StatusText(refused.Code) + "."
}
