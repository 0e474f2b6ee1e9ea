package transaction_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"go.uber.org/goleak"

	"daybook/database"
	"daybook/database/databasetest"
	"daybook/ent"
	"daybook/transaction"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

var errTest = errors.New("the test's error")

func TestOnPostgreSQL(t *testing.T) { databasetest.OnPostgreSQL(t) }

// TestOutcome has handlers that all store a row and set headers, and then end in each way there is.
func TestOutcome(t *testing.T) {
	for _, test := range []struct {
		name   string
		end    func(c echo.Context) error
		status int
		kept   bool
	}{
		{"nothing written", func(echo.Context) error { return nil }, 200, true},
		{"200", func(c echo.Context) error { return c.String(200, "done") }, 200, true},
		{"201", func(c echo.Context) error { return c.String(201, "done") }, 201, true},
		{"201 after 103", func(c echo.Context) error { c.Response().Writer.WriteHeader(103); return c.String(201, "done") }, 201, true},
		{"204", func(c echo.Context) error { return c.NoContent(204) }, 204, true},
		{"303", func(c echo.Context) error { return c.Redirect(303, "/") }, 303, true},
		{"400 written", func(c echo.Context) error { return c.String(400, "no") }, 400, false},
		{"400 written, and an error", func(c echo.Context) error { return errors.Join(c.String(400, "no"), errTest) }, 400, false},
		{"500 written", func(c echo.Context) error { return c.String(500, "no") }, 500, false},
		{"500 written past Echo", func(c echo.Context) error { c.Response().Writer.WriteHeader(500); return nil }, 500, false},
		{"an error", func(echo.Context) error { return errTest }, 500, false},
		{"an error of Echo's", func(echo.Context) error { return echo.ErrTeapot }, 418, false},
		{"an error after a 200", func(c echo.Context) error { _ = c.String(200, "done"); return errTest }, 500, false},
		{"an error answered further in", func(c echo.Context) error { c.Error(errTest); return nil }, 500, false},
		{"a panic", func(echo.Context) error { panic(errTest) }, 500, false},
		{"a panic after a 200", func(c echo.Context) error { _ = c.String(200, "done"); panic("late") }, 500, false},
	} {
		for name, open := range databases {
			t.Run(test.name+" with "+name, func(t *testing.T) { testOutcome(t, open, test.end, test.status, test.kept) })
		}
	}
}

func testOutcome(t *testing.T, database func(*testing.T) dialect.Driver, end echo.HandlerFunc, status int, kept bool) {
	app := open(t, database)
	app.Use(middleware.Recover(), transaction.Middleware(app.begin))
	app.POST("/", func(c echo.Context) error {
		c.SetCookie(&http.Cookie{Name: "session", Value: "1"})
		c.Response().Header().Set("X-Test", "set")
		if err := save(c, "a"); err != nil {
			return err
		}
		return end(c)
	})
	response, body := app.do(http.MethodPost, "/")
	if response.StatusCode != status {
		t.Errorf("status %d (%s), want %d", response.StatusCode, body, status)
	}
	if is := app.values() == "a"; is != kept {
		t.Errorf("kept %t, want %t", is, kept)
	}
	if kept && (response.Header.Get("X-Test") == "" || len(response.Cookies()) != 1) {
		t.Errorf("headers are missing: %v", response.Header)
	}
	if strings.Contains(body, "done") && !kept {
		t.Errorf("the client got %q", body)
	}
	app.nothingInUse()
}

// TestFailedCommit makes the handler succeed and COMMIT fail.
func TestFailedCommit(t *testing.T) {
	app := start(t)
	failCommits(t, app.driver)
	var seen error
	app.HTTPErrorHandler = func(err error, c echo.Context) {
		seen = err
		if err := c.String(http.StatusTeapot, "not stored"); err != nil {
			t.Error(err)
		}
	}
	app.POST("/", func(c echo.Context) error {
		c.SetCookie(&http.Cookie{Name: "session", Value: "1"})
		c.Response().Header().Set(echo.HeaderLocation, "/1")
		if err := save(c, "a"); err != nil {
			t.Errorf("the statement failed, not the commit: %v", err)
		}
		return c.String(http.StatusCreated, "stored")
	})
	response, body := app.do(http.MethodPost, "/")
	if response.StatusCode != http.StatusTeapot || body != "not stored" {
		t.Errorf("answered %d %q", response.StatusCode, body)
	}
	if response.Header.Get(echo.HeaderLocation) != "" || len(response.Cookies()) != 0 {
		t.Errorf("headers of the dropped response have left: %v", response.Header)
	}
	if seen == nil || !strings.HasPrefix(seen.Error(), "commit transaction: ") || !strings.Contains(strings.ToUpper(seen.Error()), "FOREIGN KEY") {
		t.Errorf("the error handler saw %v", seen)
	}
	if got := app.values(); got != "" {
		t.Errorf("the database holds %q", got)
	}
	app.nothingInUse()
}

// failCommits makes every transaction that stores a message violate a foreign key that is checked at COMMIT.
func failCommits(t *testing.T, driver dialect.Driver) {
	t.Helper()
	const child = "CREATE TABLE child (message BIGINT REFERENCES messages (id) DEFERRABLE INITIALLY DEFERRED)"
	statements := []string{child, "CREATE TRIGGER orphan AFTER INSERT ON messages BEGIN INSERT INTO child VALUES (-1); END"}
	if databasetest.Postgres() {
		statements = []string{
			child,
			"CREATE FUNCTION orphan() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO child VALUES (-1); RETURN NULL; END'",
			"CREATE TRIGGER orphan AFTER INSERT ON messages EXECUTE FUNCTION orphan()",
		}
	}
	for _, statement := range statements {
		if err := driver.Exec(t.Context(), statement, []any{}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNothingLeavesBeforeTheCommit(t *testing.T) {
	app := start(t)
	app.POST("/", func(c echo.Context) error {
		if err := save(c, "a"); err != nil {
			return err
		}
		if err := c.String(http.StatusCreated, "stored"); err != nil {
			return err
		}
		c.Response().Flush()
		if err := http.NewResponseController(c.Response()).Flush(); err != nil {
			return err
		}
		if _, _, err := c.Response().Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("the connection was handed out: %v", err)
		}
		return errTest
	})
	if response, body := app.do(http.MethodPost, "/"); response.StatusCode != 500 || strings.Contains(body, "stored") {
		t.Errorf("answered %d %q", response.StatusCode, body)
	}
}

func TestClientThatHangsUpLeavesNothing(t *testing.T) {
	app := start(t)
	stored, ended := make(chan bool), make(chan error, 1)
	app.POST("/", func(c echo.Context) error {
		if err := save(c, "a"); err != nil {
			return err
		}
		close(stored)
		<-c.Request().Context().Done()
		return c.String(http.StatusCreated, "stored") // it ignores the hang-up
	})
	app.HTTPErrorHandler = func(err error, _ echo.Context) { ended <- err }
	conn, err := net.Dial("tcp", strings.TrimPrefix(app.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n")
	<-stored
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the request ended with %v", err)
	}
	if got := app.values(); got != "" {
		t.Errorf("the database holds %q", got)
	}
	app.nothingInUse()
}

// TestAbortedRequest has a handler close the connection with net/http's own panic.
func TestAbortedRequest(t *testing.T) {
	app := start(t)
	app.POST("/", func(c echo.Context) error {
		if err := save(c, "a"); err != nil {
			return err
		}
		panic(http.ErrAbortHandler)
	})
	if response, err := http.Post(app.url, "", nil); err == nil {
		response.Body.Close()
		t.Errorf("answered %d", response.StatusCode)
	}
	if got := app.values(); got != "" {
		t.Errorf("the database holds %q", got)
	}
	app.nothingInUse()
}

// TestDeadline has Echo's ContextTimeout on either side, and handlers that return its error or ignore it.
func TestDeadline(t *testing.T) {
	timeout := func(next echo.HandlerFunc) echo.HandlerFunc {
		slow, fast := middleware.ContextTimeout(50*time.Millisecond)(next), middleware.ContextTimeout(time.Minute)(next)
		return func(c echo.Context) error {
			if c.Path() == "/fast" {
				return fast(c)
			}
			return slow(c)
		}
	}
	for _, inside := range []bool{false, true} {
		t.Run(fmt.Sprint("inside ", inside), func(t *testing.T) {
			app := open(t, openDatabase)
			order := []echo.MiddlewareFunc{timeout, transaction.Middleware(app.begin)}
			if inside {
				slices.Reverse(order)
			}
			app.Use(order...)
			app.POST("/fast", func(c echo.Context) error { return save(c, "fast") })
			app.POST("/:how", func(c echo.Context) error {
				if err := save(c, "slow"); err != nil {
					return err
				}
				<-c.Request().Context().Done()
				switch c.Param("how") {
				case "returned":
					return fmt.Errorf("look up: %w", c.Request().Context().Err())
				case "answered":
					return echo.ErrTeapot
				}
				return c.String(http.StatusCreated, "stored")
			})
			for _, path := range []string{"/ignored", "/returned"} {
				response, body := app.do(http.MethodPost, path)
				if response.StatusCode != http.StatusServiceUnavailable {
					t.Errorf("%s: answered %d %q", path, response.StatusCode, body)
				}
				// Inside, ContextTimeout itself gives a returned error its status.
				if retry := response.Header.Get("Retry-After"); retry != "1" && !(inside && path == "/returned") {
					t.Errorf("%s: Retry-After is %q", path, retry)
				}
			}
			if response, body := app.do(http.MethodPost, "/answered"); response.StatusCode != http.StatusTeapot || response.Header.Get("Retry-After") != "" {
				t.Errorf("an error with a status was answered %d %q %v", response.StatusCode, body, response.Header)
			}
			// Inside, the middleware cancels its context when it returns, even if all is well.
			if response, body := app.do(http.MethodPost, "/fast"); response.StatusCode != 200 {
				t.Errorf("fast enough, and answered %d %q", response.StatusCode, body)
			}
			if got := app.values(); got != "fast" {
				t.Errorf("the database holds %q", got)
			}
			app.nothingInUse()
		})
	}
}

// TestDeadlineOfAReplacedRequest has a handler continue without the deadline, after it has passed.
func TestDeadlineOfAReplacedRequest(t *testing.T) {
	app := open(t, openDatabase)
	app.Use(middleware.ContextTimeout(50*time.Millisecond), transaction.Middleware(app.begin))
	app.POST("/", func(c echo.Context) error {
		<-c.Request().Context().Done()
		c.SetRequest(c.Request().WithContext(context.WithoutCancel(c.Request().Context())))
		return c.String(http.StatusCreated, "stored")
	})
	response, body := app.do(http.MethodPost, "/")
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") != "1" { // ContextTimeout has no such header
		t.Errorf("answered %d %q %v", response.StatusCode, body, response.Header)
	}
}

func TestPanicInACommitHook(t *testing.T) {
	app := start(t)
	e := echo.New()
	e.Logger.SetOutput(io.Discard)
	e.Use(middleware.Recover(), transaction.Middleware(func(ctx context.Context, options *sql.TxOptions) (*ent.Tx, error) {
		tx, err := app.client.BeginTx(ctx, options)
		if err == nil {
			tx.OnCommit(func(ent.Committer) ent.Committer { panic("in a hook") })
		}
		return tx, err
	}))
	e.POST("/", func(c echo.Context) error { return save(c, "a") })
	recorder := httptest.NewRecorder()
	e.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/", nil))
	if recorder.Code != 500 || app.values() != "" {
		t.Errorf("answered %d, the database holds %q", recorder.Code, app.values())
	}
	app.nothingInUse()
}

// TestCommitHookThatDoesNotCommit has an OnCommit hook of ent's return an error without calling the next committer.
func TestCommitHookThatDoesNotCommit(t *testing.T) {
	opened := maps.Clone(databases)
	failing := &faults{}
	opened["a driver whose ROLLBACK fails"] = failing.openDatabase
	failing.fail(rollback, 1, errRollback)
	for name, database := range opened {
		t.Run(name, func(t *testing.T) {
			app := open(t, database)
			var report transaction.Report
			app.Use(transaction.Middleware(func(ctx context.Context, options *sql.TxOptions) (*ent.Tx, error) {
				tx, err := app.client.BeginTx(ctx, options)
				if err == nil {
					tx.OnCommit(func(ent.Committer) ent.Committer {
						return ent.CommitFunc(func(context.Context, *ent.Tx) error { return errTest })
					})
				}
				return tx, err
			}, transaction.Observe(func(_ context.Context, r transaction.Report) { report = r })))
			app.POST("/", func(c echo.Context) error { return save(c, "a") })
			recorder := httptest.NewRecorder()
			app.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/", nil))
			if recorder.Code != 500 || report.Outcome != transaction.CommitFailed || !errors.Is(report.Reason, errTest) {
				t.Errorf("answered %d, outcome %q after %v", recorder.Code, report.Outcome, report.Reason)
			}
			failed := errors.Is(report.Reason, errRollback)
			if _, sound := databases[name]; failed == sound || failed != strings.Contains(report.Reason.Error(), "roll back transaction: ") {
				t.Errorf("the reason has the error of ROLLBACK: %t: %v", failed, report.Reason)
			}
			app.nothingInUse()
			if got := app.values(); got != "" {
				t.Errorf("the database holds %q", got)
			}
		})
	}
}

func TestReadingRouteCannotWrite(t *testing.T) {
	app := start(t)
	reading := []string{http.MethodGet, http.MethodHead, http.MethodOptions}
	app.Match(reading, "/read", func(c echo.Context) error { return save(c, "a") })
	app.GET("/write", func(c echo.Context) error { return save(c, "b") }, transaction.Write)
	for _, method := range reading {
		if response, _ := app.do(method, "/read"); response.StatusCode != 500 {
			t.Errorf("a %s that writes was answered with %d", method, response.StatusCode)
		}
	}
	if response, _ := app.do(http.MethodGet, "/write"); response.StatusCode != 200 {
		t.Errorf("a GET that may write was answered with %d", response.StatusCode)
	}
	if got := app.values(); got != "b" {
		t.Errorf("the database holds %q", got)
	}
}

func TestReadingRequestSeesOneSnapshot(t *testing.T) {
	app := start(t)
	app.GET("/", func(c echo.Context) error {
		client := transaction.Client[*ent.Client](c)
		before, err := client.Message.Query().Count(c.Request().Context())
		if err != nil {
			return err
		}
		if err := app.client.Message.Create().SetValue("meanwhile").Exec(c.Request().Context()); err != nil {
			return err
		}
		after, err := client.Message.Query().Count(c.Request().Context())
		if err != nil {
			return err
		}
		return c.String(200, fmt.Sprint(before, after))
	})
	if _, body := app.do(http.MethodGet, "/"); body != "0 0" {
		t.Errorf("two counts in one request: %s, want 0 0", body)
	}
}

func TestReadingRequestStreamsWhatIsTooLargeToHold(t *testing.T) {
	app := start(t)
	var chunk = strings.Repeat("x", 1000)
	first := make(chan bool)
	handler := func(c echo.Context) error {
		for range 2000 {
			if _, err := io.WriteString(c.Response(), chunk); err != nil {
				return err
			}
		}
		select {
		case <-first: // the beginning has arrived before this is the end
		case <-c.Request().Context().Done():
		}
		return nil
	}
	app.GET("/", handler)
	response, err := http.Get(app.url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := bufio.NewReader(response.Body).ReadByte(); err != nil {
		t.Fatal(err)
	}
	close(first)
	rest, err := io.Copy(io.Discard, response.Body)
	if err != nil || rest == 0 || response.ContentLength != -1 {
		t.Errorf("the rest has %d bytes, announced %d, error %v", rest, response.ContentLength, err)
	}
}

// TestStreamThatFailsIsBrokenOff has handlers fail when a part of the response is sent. The client must not take the part for
// the whole.
func TestStreamThatFailsIsBrokenOff(t *testing.T) {
	app := start(t)
	for path, end := range map[string]func() error{
		"/error": func() error { return errors.New("no more") },
		"/panic": func() error { panic("no more") },
	} {
		app.GET(path, func(c echo.Context) error {
			if _, err := c.Response().Write(make([]byte, 2<<20)); err != nil {
				return err
			}
			return end()
		})
		response, err := http.Get(app.url + path)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, response.Body); err == nil {
			t.Errorf("%s: %d bytes arrived as if they were all", path, n)
		}
		response.Body.Close()
	}
}

func TestWritingRequestFailsWithAResponseTooLargeToHold(t *testing.T) {
	app := start(t)
	app.POST("/", func(c echo.Context) error {
		if err := save(c, "a"); err != nil {
			return err
		}
		_ = c.String(200, strings.Repeat("x", 2<<20)) // it ignores the error
		return nil
	})
	if response, body := app.do(http.MethodPost, "/"); response.StatusCode != 500 || len(body) > 1000 {
		t.Errorf("answered %d with %d bytes", response.StatusCode, len(body))
	}
	if got := app.values(); got != "" {
		t.Errorf("the database holds %q", got)
	}
}

// TestRequestWithoutDatabase makes requests that ask for no client, and checks that no transaction begins.
func TestRequestWithoutDatabase(t *testing.T) {
	e := echo.New()
	e.Use(transaction.Middleware(func(context.Context, *sql.TxOptions) (*ent.Tx, error) {
		t.Error("a transaction began")
		return nil, errTest
	}))
	e.POST("/", func(c echo.Context) error { return c.String(200, "hello") })
	for path, want := range map[string]int{"/": 200, "/none": 404} {
		recorder := httptest.NewRecorder()
		e.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, path, nil))
		if recorder.Code != want {
			t.Errorf("%s: %d, want %d", path, recorder.Code, want)
		}
	}
	recorder := httptest.NewRecorder()
	e.ServeHTTP(recorder, httptest.NewRequest(http.MethodPut, "/", nil))
	if recorder.Code != 405 || recorder.Header().Get("Allow") == "" {
		t.Errorf("a wrong method: %d, Allow %q", recorder.Code, recorder.Header().Get("Allow"))
	}
}

func TestTransactionThatCannotBegin(t *testing.T) {
	e := echo.New()
	var seen error
	e.HTTPErrorHandler = func(err error, c echo.Context) { seen = err; _ = c.NoContent(503) }
	e.Use(transaction.Middleware(func(context.Context, *sql.TxOptions) (*ent.Tx, error) { return nil, errTest }))
	e.GET("/", func(c echo.Context) error {
		_ = save(c, "a")
		t.Error("the handler went on without a client")
		return nil
	})
	recorder := httptest.NewRecorder()
	e.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/", nil))
	if !errors.Is(seen, errTest) || !strings.HasPrefix(seen.Error(), "begin transaction: ") || recorder.Code != 503 {
		t.Errorf("answered %d after %v", recorder.Code, seen)
	}
}

func TestClientAfterTheEnd(t *testing.T) {
	app := start(t)
	var client *ent.Client
	app.POST("/:status", func(c echo.Context) error {
		client = transaction.Client[*ent.Client](c)
		if err := save(c, "a"); err != nil {
			return err
		}
		if c.Param("status") == "400" {
			return c.NoContent(400)
		}
		return c.NoContent(204)
	})
	for _, path := range []string{"/204", "/400"} {
		app.do(http.MethodPost, path)
		if err := client.Message.Create().SetValue("late").Exec(t.Context()); !errors.Is(err, sql.ErrTxDone) {
			t.Errorf("%s: a statement after the end: %v, want %v", path, err, sql.ErrTxDone)
		}
	}
	if got := app.values(); got != "a" {
		t.Errorf("the database holds %q", got)
	}
}

func TestDoom(t *testing.T) {
	app := start(t)
	app.POST("/", func(c echo.Context) error {
		transaction.Doom(c)
		if err := save(c, "a"); err != nil {
			return err
		}
		return c.String(200, "would be stored")
	})
	if response, body := app.do(http.MethodPost, "/"); response.StatusCode != 200 || body != "would be stored" {
		t.Errorf("answered %d %q", response.StatusCode, body)
	}
	if got := app.values(); got != "" {
		t.Errorf("the database holds %q", got)
	}
}

func TestKeep(t *testing.T) {
	app := start(t, transaction.Keep(func(c echo.Context, status int, err error) bool {
		return c.Path() == "/login" || status < 400 && err == nil
	}))
	handler := func(c echo.Context) error {
		if err := save(c, c.Path()); err != nil {
			return err
		}
		if c.QueryParam("how") == "written" {
			return c.String(401, "written")
		}
		return echo.NewHTTPError(401, "returned")
	}
	app.POST("/login", handler)
	app.POST("/other", handler)
	for _, path := range []string{"/login?how=written", "/login?how=returned", "/other?how=written", "/other?how=returned"} {
		_, how, _ := strings.Cut(path, "=")
		if response, body := app.do(http.MethodPost, path); response.StatusCode != 401 || !strings.Contains(body, how) {
			t.Errorf("%s: answered %d %q", path, response.StatusCode, body)
		}
	}
	if got := app.values(); got != "/login /login" {
		t.Errorf("the database holds %q", got)
	}
}

// TestTransactionThatTheDatabaseEnded has a handler ignore an error with which the database has rolled back.
func TestTransactionThatTheDatabaseEnded(t *testing.T) {
	app := start(t)
	statement := "INSERT OR ROLLBACK INTO messages (id, value, recorded_at) SELECT id, value, recorded_at FROM messages"
	if databasetest.Postgres() {
		statement = "SELECT pg_terminate_backend(pg_backend_pid())"
	}
	app.POST("/", func(c echo.Context) error {
		if err := save(c, "before"); err != nil {
			return err
		}
		_, err := transaction.Client[*ent.Client](c).ExecContext(c.Request().Context(), statement)
		if err == nil {
			t.Error("the end was not noticed")
		}
		if err := save(c, "after"); err == nil {
			t.Error("a statement after it succeeds")
		}
		return c.String(201, "stored")
	})
	if response, body := app.do(http.MethodPost, "/"); response.StatusCode != 500 {
		t.Errorf("answered %d %q", response.StatusCode, body)
	}
	if got := app.values(); got != "" {
		t.Errorf("the database holds %q", got)
	}
	app.nothingInUse()
}

// TestWriteOutsideOfTheTransaction has a handler wait for its own transaction: for the turn or, on PostgreSQL, to know whether the
// value will be there twice.
func TestWriteOutsideOfTheTransaction(t *testing.T) {
	app := start(t, transaction.Unavailable(database.IsBusy))
	if err := app.driver.Exec(t.Context(), "CREATE UNIQUE INDEX once ON messages (value)", []any{}, nil); err != nil {
		t.Fatal(err)
	}
	app.POST("/", func(c echo.Context) error {
		if err := save(c, "inside"); err != nil {
			return err
		}
		err := app.client.Message.Create().SetValue("inside").Exec(c.Request().Context())
		if !database.IsBusy(err) {
			t.Errorf("the statement outside: %v", err)
		}
		return err
	})
	response, body := app.do(http.MethodPost, "/")
	if response.StatusCode != 503 || response.Header.Get("Retry-After") == "" {
		t.Errorf("answered %d %q, Retry-After %q", response.StatusCode, body, response.Header.Get("Retry-After"))
	}
	if got := app.values(); got != "" {
		t.Errorf("the database holds %q", got)
	}
	app.nothingInUse()
}

// TestInstalledTwice has a second middleware on a route, of the same client and of another one.
func TestInstalledTwice(t *testing.T) {
	app, other := start(t), open(t, openDatabase)
	var seen error
	app.HTTPErrorHandler = func(err error, c echo.Context) { seen = err; app.DefaultHTTPErrorHandler(err, c) }
	for path, client := range map[string]*ent.Client{"/same": app.client, "/other": other.client} {
		app.POST(path, func(c echo.Context) error {
			t.Error("the handler runs")
			return save(c, "a")
		}, transaction.Middleware(client.BeginTx))
		response, body := app.do(http.MethodPost, path)
		if response.StatusCode != 500 || seen == nil || !strings.Contains(seen.Error(), "installed twice") {
			t.Errorf("%s: answered %d %q after %v", path, response.StatusCode, body, seen)
		}
	}
	if app.values() != "" || other.values() != "" {
		t.Errorf("the databases hold %q and %q", app.values(), other.values())
	}
	app.nothingInUse()
	other.nothingInUse()
}

func TestHeadIsAnsweredLikeGet(t *testing.T) {
	app := start(t)
	app.Match([]string{http.MethodGet, http.MethodHead}, "/", func(c echo.Context) error { return c.String(200, "hello") })
	response, body := app.do(http.MethodHead, "/")
	if response.StatusCode != 200 || response.ContentLength != 5 || body != "" {
		t.Errorf("answered %d, %d bytes announced, body %q", response.StatusCode, response.ContentLength, body)
	}
}
