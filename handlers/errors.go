package handlers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"daybook/book"
	"daybook/database"
	"daybook/ent/schema"
	"daybook/transaction"
	"daybook/views"
)

// statusClientClosed is the status in the log for a client that left before its answer, as nginx has it.
const statusClientClosed = 499

// refuse returns the error of a request that the client can correct. The sentence is for the client.
func refuse(status int, sentence string, args ...any) *echo.HTTPError {
	return echo.NewHTTPError(status, fmt.Sprintf(sentence, args...))
}

// fail makes an answer of an error, and logs the error unless the record of its transaction has it. It is the only place for both.
func (a app) fail(err error, c echo.Context) {
	ctx := c.Request().Context()
	var problem views.Problem
	problem.Status, problem.Detail = describe(err)
	if !database.IsUnknown(err) {
		c.Request().PostForm.Del("key") // nothing was recorded with it
	} else if c.Request().PostForm.Get("key") != "" {
		problem.Status, problem.Detail = http.StatusServiceUnavailable, "It is not known whether the message was recorded, because the "+
			"database failed just then. Please send it again: with its idempotency key, it is recorded only once."
	} else if strings.HasPrefix(c.Path(), "/messages/") {
		problem.Detail = "It is not known whether the message was removed, because the database failed just then. " +
			"Please look whether it is still there."
	}
	if problem.Status >= http.StatusInternalServerError && errors.Is(ctx.Err(), context.Canceled) {
		problem.Status, problem.Detail = describe(context.Canceled) // the cause is that the client has left
	}
	if problem.Status >= http.StatusInternalServerError {
		problem.ID = c.Response().Header().Get(echo.HeaderXRequestID)
		if !transaction.Logs(c) {
			a.log.LogAttrs(ctx, slog.LevelError, "request failed",
				slog.String("route", c.Request().Method+" "+c.Path()), slog.String("id", problem.ID), slog.Any("error", err))
		}
	}
	if c.Response().Committed {
		return // too late for another answer
	}
	if problem.Status == http.StatusServiceUnavailable {
		c.Response().Header().Set(echo.HeaderRetryAfter, "1")
	}
	if err := sendProblem(c, problem); err != nil {
		a.log.LogAttrs(ctx, slog.LevelError, "error page failed", slog.Any("error", err))
	}
}

// sendProblem sends the problem, as text if the client accepts no format that there is. A form comes back with what was typed.
func sendProblem(c echo.Context, problem views.Problem) error {
	format, err := negotiate(c, formats...)
	if err != nil {
		format = text
	}
	if form := c.Request().PostForm; format == html && form.Has("msg") {
		return send(c, problem.Status, format, views.Form{Problem: problem, Value: form.Get("msg"), Key: cmp.Or(form.Get("key"), newKey())})
	}
	return send(c, problem.Status, format, problem)
}

// describe says what an error means for the client. It shows nothing of an unknown one.
func describe(err error) (status int, sentence string) {
	var invalid schema.Invalid
	var missing book.NotFound
	var refused *echo.HTTPError
	switch {
	case database.IsUnknown(err): // whatever was said after that
		return http.StatusInternalServerError, "It is not known whether the message was recorded, because the database failed " +
			"just then. Please look for it before you send it again."
	case errors.As(err, &invalid):
		return http.StatusUnprocessableEntity, "The message " + invalid.Error() + "."
	case errors.Is(err, echo.ErrNotFound):
		return http.StatusNotFound, "There is nothing at this address."
	case errors.Is(err, echo.ErrMethodNotAllowed):
		return http.StatusMethodNotAllowed, "This address does not support that method. To record a message, use POST /record."
	case errors.Is(err, echo.ErrStatusRequestEntityTooLarge):
		return http.StatusRequestEntityTooLarge, "The request is larger than any message may be."
	case errors.As(err, &missing) && missing.Removed:
		return http.StatusGone, missing.Error()
	case errors.As(err, &missing):
		return http.StatusNotFound, missing.Error()
	case errors.Is(err, book.ErrOtherMessage):
		return http.StatusUnprocessableEntity, "Another message was recorded with the same key. To record this one, too, use a new key."
	case errors.As(err, &refused):
		return refused.Code, fmt.Sprint(refused.Message)
	case database.IsFull(err):
		return http.StatusInsufficientStorage, "The disk is full, so nothing was changed."
	case database.IsReadOnly(err):
		return http.StatusInternalServerError, "The database is read-only, so nothing can be changed."
	case errors.Is(err, database.ErrFileReplaced):
		return http.StatusInternalServerError, "The database's file was moved or replaced, so nothing can be changed."
	case database.IsCorrupt(err):
		return http.StatusInternalServerError, "The database is damaged. Its operator must repair it."
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, database.ErrHeldTooLong):
		return http.StatusServiceUnavailable, "The request took too long. Please try again."
	case errors.Is(err, context.Canceled):
		return statusClientClosed, "The request was cancelled."
	}
	return http.StatusInternalServerError, "Something went wrong here, and nothing was changed."
}
