package transaction

import (
	"context"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"
)

// answer sends the held response, or drops it and returns the error that Echo's error handler must answer.
func (a *attempt) answer(err error) error {
	switch {
	case err == nil, err == errDoomed, err == errRefused:
		return a.held.release()
	case a.wroteRefusal():
		if releaseErr := a.held.release(); releaseErr != nil {
			return errors.Join(err, releaseErr)
		}
		return err
	}
	hungUp := errors.Is(a.request.http.Context().Err(), context.Canceled)
	a.request.failed = a.lost || !hungUp
	a.drop()
	return a.withStatus(err)
}

// wroteRefusal reports whether the handler has written a refusal that may be sent. If COMMIT or ROLLBACK failed, what the
// refusal says may come from a state of the database that never was.
func (a *attempt) wroteRefusal() bool {
	return a.held.refused() && !a.held.overflowed && !a.lost
}

// drop discards the response. Headers without a response, such as the Allow that Echo sets for its error 405, stay if no
// transaction was lost.
func (a *attempt) drop() {
	lost := (a.tx != nil || a.beginErr != nil) && a.request.report.Outcome != Committed
	if lost || a.held.status != 0 {
		a.held.drop()
	}
}

// withStatus returns the error with status 503 if the request may succeed later.
func (a *attempt) withStatus(err error) error {
	config := a.request.config
	switch {
	case hasStatus(err), a.request.report.Outcome == Committed:
		return err
	case config.unavailable(err), config.repeatable(err):
		return a.unavailable("The database is busy. Please try again.", err)
	case a.timedOut():
		return a.unavailable("The request took too long. Please try again.", err)
	}
	return err
}

func (a *attempt) unavailable(message string, err error) error {
	a.request.to.Header().Set(echo.HeaderRetryAfter, "1") // second: a busy database recovers soon, or not at all
	return echo.NewHTTPError(http.StatusServiceUnavailable, message).SetInternal(err)
}

// hasStatus reports whether the application has given the error a status.
func hasStatus(err error) bool {
	var answered *echo.HTTPError
	return errors.As(err, &answered)
}
