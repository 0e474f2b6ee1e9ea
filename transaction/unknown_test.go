package transaction_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"daybook/ent"
	"daybook/transaction"
)

// TestHooksOfAnUnknownOutcome runs only those of a savepoint that was undone.
func TestHooksOfAnUnknownOutcome(t *testing.T) {
	faults := &faults{}
	app := open(t, faults.openDatabase)
	app.Use(transaction.Middleware(app.begin, unknown))
	var ran []string
	hook := func(name string) func(context.Context) error {
		return func(context.Context) error { ran = append(ran, name); return nil }
	}
	app.POST("/", func(c echo.Context) error {
		transaction.AfterCommit(c, hook("commit"))
		transaction.AfterRollback(c, hook("rollback"))
		_ = transaction.Savepoint(c, func(*ent.Client) error {
			transaction.AfterRollback(c, hook("undone"))
			return errTest
		})
		return save(c, "a")
	})
	faults.fail(commit, 1, errUnknown)
	app.do(http.MethodPost, "/")
	if !slices.Equal(ran, []string{"undone"}) {
		t.Errorf("hooks ran: %q", ran)
	}
}

// TestUnknownOutcomeStays has a second attempt end in every way but a commit: what the first one did may be kept.
func TestUnknownOutcomeStays(t *testing.T) {
	for name, end := range map[string]func(echo.Context) error{
		"an error":         func(echo.Context) error { return errTest },
		"a refusal":        func(c echo.Context) error { return c.String(http.StatusConflict, "refused") },
		"Doom":             func(c echo.Context) error { transaction.Doom(c); return c.String(http.StatusOK, "dry") },
		"a panic":          func(echo.Context) error { panic(errTest) },
		"repeatable twice": func(echo.Context) error { return errRepeat },
	} {
		t.Run(name, func(t *testing.T) {
			faults := &faults{}
			app := open(t, faults.openDatabase)
			var report transaction.Report
			var seen error
			app.HTTPErrorHandler = func(err error, c echo.Context) { seen = err; app.DefaultHTTPErrorHandler(err, c) }
			app.Use(middleware.RecoverWithConfig(middleware.RecoverConfig{DisablePrintStack: true}), transaction.Middleware(app.begin, unknown,
				retry, transaction.Observe(func(_ context.Context, r transaction.Report) { report = r })))
			attempts := 0
			app.POST("/", func(c echo.Context) error {
				for _, register := range []func(echo.Context, func(context.Context) error){transaction.AfterCommit, transaction.AfterRollback} {
					register(c, func(context.Context) error { t.Error("a hook ran"); return nil })
				}
				transaction.Idempotent(c)
				if attempts++; attempts > 1 {
					return end(c)
				}
				return save(c, "a")
			})
			faults.fail(commit, 1, errUnknown)
			if response, body := app.do(http.MethodPost, "/"); response.StatusCode != 500 {
				t.Errorf("answered %d %q", response.StatusCode, body)
			}
			both := errors.Is(seen, errUnknown) && (name != "an error" || errors.Is(seen, errTest))
			if report.Outcome != transaction.CommitUnknown || name != "a panic" && !both {
				t.Errorf("the outcome is %q, the error handler saw %v", report.Outcome, seen)
			}
			if got := app.values(); got != "a" {
				t.Errorf("the database holds %q", got)
			}
		})
	}
}

func TestUnknownOutcomeIsRepeatedOnlyWithRetry(t *testing.T) {
	faults := &faults{}
	app := open(t, faults.openDatabase)
	app.Use(transaction.Middleware(app.begin, unknown))
	attempts := 0
	app.POST("/", func(c echo.Context) error {
		attempts++
		transaction.Idempotent(c)
		return save(c, "a")
	})
	faults.fail(commit, 1, errUnknown)
	if response, body := app.do(http.MethodPost, "/"); response.StatusCode != 500 || attempts != 1 {
		t.Errorf("answered %d %q after %d attempts", response.StatusCode, body, attempts)
	}
}
