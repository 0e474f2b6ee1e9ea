package transaction_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"daybook/database"
	"daybook/ent"
	"daybook/transaction"
)

func TestReport(t *testing.T) {
	var log bytes.Buffer
	reports := make(chan transaction.Report, 9)
	app := start(t, retry,
		transaction.Trace(database.Trace),
		transaction.Observe(func(_ context.Context, r transaction.Report) { reports <- r }),
		transaction.Log(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	attempts := 0
	app.POST("/messages/:value", func(c echo.Context) error {
		if err := save(c, c.Param("value")); err != nil {
			return err
		}
		if attempts++; attempts == 1 {
			return errRepeat
		}
		return save(c, c.Param("value"))
	})
	app.GET("/none", func(echo.Context) error { return nil })
	app.GET("/error", func(c echo.Context) error { transaction.Client[*ent.Client](c); return errTest })

	begun := time.Now()
	app.do(http.MethodPost, "/messages/a")
	r := <-reports
	if ended := r.Asked.Add(r.Waited + r.Held + r.Ending); r.Asked.Before(begun) || ended.After(time.Now()) {
		t.Errorf("asked for after %s, ended %s ago", r.Asked.Sub(begun), time.Since(ended))
	}
	if r.Route != "POST /messages/:value" || r.Mode != "write" || r.Attempts != 2 || r.Statements != 2 ||
		r.Waited <= 0 || r.Held <= 0 || r.Ending <= 0 || r.Outcome != transaction.Committed || r.Reason != nil {
		t.Errorf("a write: %+v", r)
	}
	want := fmt.Sprintf(`level=DEBUG msg=transaction transaction.route="POST /messages/:value" transaction.mode=write transaction.attempts=2 transaction.statements=2 `+
		"transaction.waited=%s transaction.held=%s transaction.ending=%s transaction.outcome=committed\n", r.Waited, r.Held, r.Ending)
	if !strings.Contains(log.String(), want) {
		t.Errorf("the log has\n%s\nwant\n%s", &log, want)
	}
	app.do(http.MethodGet, "/none")
	if r := <-reports; r.Mode != "none" || r.Statements != 0 || r.Outcome != transaction.Committed {
		t.Errorf("nothing begun: %+v", r)
	}
	app.do(http.MethodGet, "/error")
	if r := <-reports; r.Mode != "read" || r.Outcome != transaction.RolledBack || !errors.Is(r.Reason, errTest) {
		t.Errorf("an error: %+v", r)
	}
}

// TestReportHasTheTimeToBegin has no Trace, which would add what the database measures.
func TestReportHasTheTimeToBegin(t *testing.T) {
	app := open(t, openDatabase)
	var took, waited time.Duration
	app.Use(transaction.Middleware(func(ctx context.Context, options *sql.TxOptions) (*ent.Tx, error) {
		begun := time.Now()
		defer func() { took = time.Since(begun) }()
		return app.client.BeginTx(ctx, options)
	}, transaction.Observe(func(_ context.Context, r transaction.Report) { waited = r.Waited })))
	app.POST("/", func(c echo.Context) error { return save(c, "a") })
	app.do(http.MethodPost, "/")
	app.server.Close() // waits for the request's end
	if waited < took {
		t.Errorf("it took %s to begin, and the report has %s", took, waited)
	}
}

func TestReportHasWhatIsTraced(t *testing.T) {
	var report transaction.Report
	app := start(t, transaction.Observe(func(_ context.Context, r transaction.Report) { report = r }),
		transaction.Trace(func(ctx context.Context) (context.Context, func() (int, time.Duration)) {
			return ctx, func() (int, time.Duration) { return 7, time.Hour }
		}))
	app.POST("/", func(c echo.Context) error { return save(c, "a") })
	app.do(http.MethodPost, "/")
	app.server.Close() // waits for the request's end
	// What was waited is not held: without the hour, it was held for less than no time. It took some time to begin, too.
	if report.Statements != 7 || report.Waited <= time.Hour || report.Held > 0 {
		t.Errorf("the report is %+v", report)
	}
}

func TestDebugLogNeedsNoObserver(t *testing.T) {
	var log bytes.Buffer
	app := start(t, transaction.Trace(database.Trace),
		transaction.Log(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	app.POST("/", func(c echo.Context) error { return save(c, "a") })
	app.do(http.MethodPost, "/")
	app.server.Close() // waits for the request's end
	if want := "transaction.statements=1"; !strings.Contains(log.String(), want) {
		t.Errorf("the log has %q, want %s", &log, want)
	}
}

// TestFailuresAreLogged has Echo's own error handler, which logs nothing, and a log without debug level.
func TestFailuresAreLogged(t *testing.T) {
	var log bytes.Buffer
	faults := &faults{}
	app := open(t, faults.openDatabase)
	app.Use(middleware.RecoverWithConfig(middleware.RecoverConfig{DisablePrintStack: true}),
		transaction.Middleware(app.begin, retry, transaction.Log(slog.New(slog.NewTextHandler(&log, nil)))))
	if err := app.driver.Exec(t.Context(), "CREATE UNIQUE INDEX once ON messages (value)", []any{}, nil); err != nil {
		t.Fatal(err)
	}
	if err := app.client.Message.Create().SetValue("taken").Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		method  string
		handler echo.HandlerFunc
		want    string // in the log, unless it must be empty
	}{
		"a GET that writes":        {http.MethodGet, func(c echo.Context) error { return save(c, "a") }, "mode=read"},
		"a unique violation":       {http.MethodPost, func(c echo.Context) error { return save(c, "taken") }, "UNIQUE CONSTRAINT"},
		"an error":                 {http.MethodPost, func(echo.Context) error { return errTest }, "the test's error"},
		"a failed COMMIT":          {http.MethodPost, func(c echo.Context) error { faults.fail(commit, 1, errTest); return save(c, "a") }, "commit failed"},
		"attempts without success": {http.MethodPost, func(echo.Context) error { return errRepeat }, "attempts=3"},
		"an error with a status": {http.MethodPost, func(c echo.Context) error {
			if err := save(c, "a"); err != nil {
				return err
			}
			return echo.ErrConflict
		}, ""},
		"an error with a status of 500 or more": {http.MethodPost, func(echo.Context) error {
			return echo.ErrBadGateway.SetInternal(errTest)
		}, "the test's error"},
		"a written refusal": {http.MethodPost, func(c echo.Context) error { return errors.Join(c.NoContent(409), errTest) }, ""},
		"Doom":              {http.MethodPost, func(c echo.Context) error { transaction.Doom(c); return save(c, "a") }, ""},
		"a panic":           {http.MethodPost, func(c echo.Context) error { _ = save(c, "a"); panic(errTest) }, ""},
		"success":           {http.MethodPost, func(c echo.Context) error { return save(c, "b") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			log.Reset()
			path := "/" + strings.ReplaceAll(name, " ", "-")
			app.Add(test.method, path, test.handler)
			recorder := httptest.NewRecorder()
			app.ServeHTTP(recorder, httptest.NewRequest(test.method, path, nil))
			switch got := log.String(); {
			case test.want == "" && got != "":
				t.Errorf("the log has %s", got)
			case !strings.Contains(strings.ToUpper(got), strings.ToUpper(test.want)) || strings.Count(got, "level=ERROR ") != strings.Count(got, "\n"):
				t.Errorf("answered %d, the log has %q, want %q", recorder.Code, got, test.want)
			case test.want != "" && !strings.Contains(got, path):
				t.Errorf("the log has no route: %s", got)
			}
		})
	}
}

// TestHungUpClientIsNotLogged has the handler return the error of its context.
func TestHungUpClientIsNotLogged(t *testing.T) {
	var log bytes.Buffer
	app := open(t, openDatabase)
	app.Use(transaction.Middleware(app.begin, transaction.Log(slog.New(slog.NewTextHandler(&log, nil)))))
	ctx, hangUp := context.WithCancel(t.Context())
	app.POST("/", func(c echo.Context) error {
		if err := save(c, "a"); err != nil {
			return err
		}
		hangUp()
		return c.Request().Context().Err()
	})
	app.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil).WithContext(ctx))
	if log.Len() != 0 {
		t.Errorf("the log has %s", &log)
	}
}

// TestNothingIsTracedForNobody has neither an observer nor a log at debug level.
func TestNothingIsTracedForNobody(t *testing.T) {
	app := start(t,
		transaction.Log(slog.New(slog.NewTextHandler(t.Output(), nil))),
		transaction.Trace(func(ctx context.Context) (context.Context, func() (int, time.Duration)) {
			t.Error("the transaction is traced")
			return database.Trace(ctx)
		}))
	app.POST("/", func(c echo.Context) error { return save(c, "a") })
	if response, body := app.do(http.MethodPost, "/"); response.StatusCode != 200 {
		t.Errorf("answered %d %q", response.StatusCode, body)
	}
}

// TestRequestIsLoggedOnce has an error handler that logs what this package does not, with the request's ID, as this package does.
func TestRequestIsLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	faults := &faults{}
	app := open(t, faults.openDatabase)
	app.HTTPErrorHandler = func(err error, c echo.Context) {
		if !transaction.Logs(c) {
			logger.Error("the error handler's", "error", err, "id", c.Response().Header().Get(echo.HeaderXRequestID))
		}
		app.DefaultHTTPErrorHandler(err, c)
	}
	failing := errors.New("a middleware's error")
	app.Use(
		middleware.RequestIDWithConfig(middleware.RequestIDConfig{Generator: func() string { return "abc" }}),
		middleware.RecoverWithConfig(middleware.RecoverConfig{DisablePrintStack: true, DisableErrorHandler: true}),
		func(next echo.HandlerFunc) echo.HandlerFunc {
			return func(c echo.Context) error {
				if c.Path() == "/outside" {
					return failing
				}
				return next(c)
			}
		},
		transaction.Middleware(app.begin, transaction.Log(logger)))
	for path, test := range map[string]struct {
		method  string
		handler echo.HandlerFunc
		want    string // the log's only record
	}{
		"/outside": {http.MethodPost, func(echo.Context) error { return nil }, "the error handler's"},
		"/panic":   {http.MethodPost, func(c echo.Context) error { _ = save(c, "a"); panic(errTest) }, "the error handler's"},
		"/error":   {http.MethodPost, func(c echo.Context) error { _ = save(c, "a"); return errTest }, "msg=transaction "},
		"/commit":  {http.MethodPost, func(c echo.Context) error { faults.fail(commit, 1, errTest); return save(c, "a") }, "msg=transaction "},
		"/stream":  {http.MethodGet, func(c echo.Context) error { _ = c.String(http.StatusOK, large); return errTest }, "msg=transaction "},
		"/hook": {http.MethodPost, func(c echo.Context) error {
			transaction.AfterCommit(c, func(context.Context) error { return errTest })
			return save(c, "a")
		}, "a hook failed"},
		"/refused": {http.MethodPost, func(echo.Context) error { return echo.ErrConflict }, ""},
	} {
		t.Run(path, func(t *testing.T) {
			log.Reset()
			app.Add(test.method, path, test.handler)
			recorder := httptest.NewRecorder()
			func() {
				defer func() { _ = recover() }() // of a connection that is closed
				app.ServeHTTP(recorder, httptest.NewRequest(test.method, path, nil))
			}()
			got := log.String()
			if test.want == "" {
				if got != "" {
					t.Errorf("the log has %s", got)
				}
				return
			}
			if strings.Count(got, "\n") != 1 || !strings.Contains(got, test.want) || !strings.Contains(got, " id=abc") {
				t.Errorf("answered %d, the log has %q, want one record with %q", recorder.Code, got, test.want)
			}
		})
	}
}

// TestPanicIsLeftToTheErrorHandler asks Logs what the error handler must log itself, with an observer and without.
func TestPanicIsLeftToTheErrorHandler(t *testing.T) {
	for name, options := range map[string][]transaction.Option{
		"observed":   {transaction.Observe(func(context.Context, transaction.Report) {})},
		"unobserved": nil,
	} {
		t.Run(name, func(t *testing.T) {
			app := start(t, options...)
			app.HTTPErrorHandler = func(err error, c echo.Context) {
				if transaction.Logs(c) {
					t.Error("the middleware says that it logs the panic")
				}
				app.DefaultHTTPErrorHandler(err, c)
			}
			app.POST("/", func(echo.Context) error { panic(errTest) })
			if response, body := app.do(http.MethodPost, "/"); response.StatusCode != 500 {
				t.Errorf("answered %d %q", response.StatusCode, body)
			}
		})
	}
}
