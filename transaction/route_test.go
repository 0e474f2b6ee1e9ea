package transaction_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"daybook/ent"
	"daybook/transaction"
)

func TestReadByPost(t *testing.T) {
	app := start(t)
	app.POST("/", func(c echo.Context) error { return save(c, "a") }, transaction.Read)
	if response, _ := app.do(http.MethodPost, "/"); response.StatusCode != 500 || app.values() != "" {
		t.Errorf("answered %d, the database holds %q", response.StatusCode, app.values())
	}
}

func TestMarkThatComesTooLate(t *testing.T) {
	app := start(t)
	var seen error
	app.HTTPErrorHandler = func(err error, c echo.Context) { seen = err; _ = c.NoContent(500) }
	use := func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			transaction.Client[*ent.Client](c)
			return next(c)
		}
	}
	app.GET("/", func(c echo.Context) error { return nil }, use, transaction.Write)
	app.do(http.MethodGet, "/")
	if seen == nil || !strings.Contains(seen.Error(), "mark") {
		t.Errorf("the error handler saw %v", seen)
	}
}

// TestMarkWhoseTransactionCannotBeginAgain has the option Context begin for reading, and the end of that fail.
func TestMarkWhoseTransactionCannotBeginAgain(t *testing.T) {
	for _, nested := range []bool{false, true} {
		t.Run(fmt.Sprint("nested ", nested), func(t *testing.T) {
			faults := &faults{nested: nested}
			app := open(t, faults.openDatabase)
			install := transaction.Middleware(app.begin, transaction.Context(ent.NewContext))
			if nested {
				outer, err := app.client.Tx(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer outer.Rollback()
				install = transaction.Middleware(transaction.Nested(outer.Client()), transaction.Context(ent.NewContext))
			}
			app.Use(install)
			app.GET("/", func(echo.Context) error {
				t.Error("the handler runs")
				return nil
			}, transaction.Write)
			faults.fail(rollback, 1, errRollback)
			if response, body := app.do(http.MethodGet, "/"); response.StatusCode != 500 {
				t.Errorf("answered %d %q", response.StatusCode, body)
			}
		})
	}
}

func TestIsolation(t *testing.T) {
	app := open(t, openDatabase)
	var asked sql.TxOptions
	app.Use(transaction.Middleware(func(ctx context.Context, options *sql.TxOptions) (*ent.Tx, error) {
		asked = *options
		return app.client.BeginTx(ctx, options)
	}))
	app.GET("/", func(c echo.Context) error { return save(c, "a") }, transaction.Isolation(sql.LevelSerializable), transaction.Write)
	app.do(http.MethodGet, "/")
	if want := (sql.TxOptions{Isolation: sql.LevelSerializable}); asked != want {
		t.Errorf("it begins with %+v, want %+v", asked, want)
	}
}

// TestClientThatIsNotThere asks for the client without the middleware, and for one of another type.
func TestClientThatIsNotThere(t *testing.T) {
	app := open(t, openDatabase)
	var seen error
	app.HTTPErrorHandler = func(err error, c echo.Context) { seen = err; app.DefaultHTTPErrorHandler(err, c) }
	app.Use(middleware.Recover())
	app.POST("/without", func(c echo.Context) error { return save(c, "a") })
	app.POST("/other", func(c echo.Context) error {
		transaction.Client[*http.Client](c)
		return nil
	}, transaction.Middleware(app.begin))
	for path, want := range map[string]string{"/without": "does not have the Middleware", "/other": "is a *ent.Client, not a *http.Client"} {
		seen = nil
		response, body := app.do(http.MethodPost, path)
		if response.StatusCode != 500 || seen == nil || !strings.Contains(seen.Error(), want) {
			t.Errorf("%s: answered %d %q after %v, want %s", path, response.StatusCode, body, seen, want)
		}
	}
	app.nothingInUse()
}

// TestStream reads events one by one, from a route whose method is one for writing.
func TestStream(t *testing.T) {
	app := start(t)
	next := make(chan bool)
	app.POST("/", func(c echo.Context) error {
		c.Response().Header().Set(echo.HeaderContentType, "text/event-stream")
		c.Response().WriteHeader(http.StatusAccepted)
		for i := range 3 {
			tx, err := app.client.Tx(c.Request().Context()) // a short one of its own
			if err != nil {
				return err
			}
			if err := tx.Message.Create().SetValue(fmt.Sprint(i)).Exec(c.Request().Context()); err != nil {
				return err
			}
			if err := tx.Commit(); err != nil {
				return err
			}
			fmt.Fprintf(c.Response(), "data: %d\n", i)
			c.Response().Flush()
			<-next
		}
		return nil
	}, transaction.None)
	response, err := http.Post(app.url, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusAccepted || response.Header.Get(echo.HeaderContentType) != "text/event-stream" {
		t.Errorf("answered %d %v", response.StatusCode, response.Header)
	}
	lines := bufio.NewReader(response.Body)
	for i := range 3 {
		line, err := lines.ReadString('\n')
		if want := fmt.Sprintf("data: %d\n", i); err != nil || line != want {
			t.Errorf("read %q %v, want %q", line, err, want)
		}
		next <- true
	}
	if got := app.values(); got != "0 1 2" {
		t.Errorf("the database holds %q", got)
	}
}

func TestRouteWithoutATransaction(t *testing.T) {
	app := start(t)
	app.GET("/hijack", func(c echo.Context) error {
		conn, _, err := c.Response().Hijack()
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = io.WriteString(conn, "HTTP/1.1 299 Taken\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		return err
	}, transaction.None)
	app.POST("/client", func(c echo.Context) error { return save(c, "a") }, transaction.None)
	var seen error
	app.HTTPErrorHandler = func(err error, c echo.Context) { seen = err; app.DefaultHTTPErrorHandler(err, c) }
	if response, body := app.do(http.MethodGet, "/hijack"); response.StatusCode != 299 {
		t.Errorf("answered %d %q", response.StatusCode, body)
	}
	response, _ := app.do(http.MethodPost, "/client")
	if response.StatusCode != 500 || seen == nil || !strings.Contains(seen.Error(), "marked None") {
		t.Errorf("a client where there is none: answered %d after %v", response.StatusCode, seen)
	}
	if got := app.values(); got != "" {
		t.Errorf("the database holds %q", got)
	}
}

// TestContext has code that does not depend on Echo find the client.
func TestContext(t *testing.T) {
	app := start(t, transaction.Context(ent.NewContext))
	store := func(ctx context.Context) error {
		return ent.FromContext(ctx).Message.Create().SetValue("a").Exec(ctx)
	}
	handler := func(c echo.Context) error {
		if err := store(c.Request().Context()); err != nil {
			return err
		}
		if c.QueryParam("fail") != "" {
			return errTest
		}
		return nil
	}
	app.POST("/", handler)
	app.GET("/read", handler)
	app.GET("/write", handler, transaction.Write)
	app.GET("/none", func(echo.Context) error { return nil }, transaction.None)
	for path, want := range map[string]int{"POST /": 200, "POST /?fail=1": 500, "GET /read": 500, "GET /write": 200, "GET /write?fail=1": 500, "GET /none": 200} {
		method, path, _ := strings.Cut(path, " ")
		if response, body := app.do(method, path); response.StatusCode != want {
			t.Errorf("%s %s: answered %d %q, want %d", method, path, response.StatusCode, body, want)
		}
	}
	if got := app.values(); got != "a a" {
		t.Errorf("the database holds %q", got)
	}
	app.nothingInUse()
}

// TestAmongOtherMiddleware has middlewares of Echo's that look at the response on either side.
func TestAmongOtherMiddleware(t *testing.T) {
	for _, inside := range []bool{false, true} {
		t.Run(fmt.Sprint("inside ", inside), func(t *testing.T) {
			app := open(t, openDatabase)
			logged, dumped := make(chan string, 9), make(chan string, 9)
			others := []echo.MiddlewareFunc{
				middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{
					LogStatus: true, LogResponseSize: true, HandleError: !inside,
					LogValuesFunc: func(_ echo.Context, v middleware.RequestLoggerValues) error {
						logged <- fmt.Sprint(v.Status, " ", v.ResponseSize)
						return nil
					},
				}),
				middleware.BodyDump(func(_ echo.Context, _, body []byte) { dumped <- string(body) }),
			}
			if inside {
				app.Use(transaction.Middleware(app.begin))
				app.Use(others...)
			} else {
				app.Use(others...)
				app.Use(transaction.Middleware(app.begin))
			}
			app.POST("/:status", func(c echo.Context) error {
				if err := save(c, "a"); err != nil {
					return err
				}
				if c.Param("status") == "error" {
					_ = c.String(201, "stored")
					return echo.NewHTTPError(409, "refused")
				}
				return c.String(201, "stored")
			})
			app.do(http.MethodPost, "/well")
			if got := <-logged + " " + <-dumped; got != "201 6 stored" {
				t.Errorf("logged and dumped: %s", got)
			}
			app.do(http.MethodPost, "/error")
			if got := <-logged; !inside && got != "409 22" {
				t.Errorf("logged: %s, and another answer was sent", got)
			}
		})
	}
}

// TestMiddlewareThatAnswers has a middleware further out write the response, after a handler that wrote none.
func TestMiddlewareThatAnswers(t *testing.T) {
	app := open(t, openDatabase)
	app.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if err := next(c); err != nil {
				return err
			}
			return c.String(http.StatusCreated, "stored")
		}
	}, transaction.Middleware(app.begin))
	app.POST("/", func(c echo.Context) error { return save(c, "a") })
	if response, body := app.do(http.MethodPost, "/"); response.StatusCode != 201 || body != "stored" {
		t.Errorf("answered %d %q", response.StatusCode, body)
	}
	if got := app.values(); got != "a" {
		t.Errorf("the database holds %q", got)
	}
}

func TestGzip(t *testing.T) {
	long := strings.Repeat("stored ", 1000)
	for _, inside := range []bool{false, true} {
		t.Run(fmt.Sprint("inside ", inside), func(t *testing.T) {
			app := open(t, openDatabase)
			order := []echo.MiddlewareFunc{middleware.Gzip(), transaction.Middleware(app.begin)}
			if inside {
				order[0], order[1] = order[1], order[0]
			}
			app.Use(order...)
			app.POST("/", func(c echo.Context) error {
				if err := save(c, "a"); err != nil {
					return err
				}
				return c.String(201, long)
			})
			request := httptest.NewRequest(http.MethodPost, "/", nil)
			request.Header.Set(echo.HeaderAcceptEncoding, "gzip")
			recorder := httptest.NewRecorder()
			app.ServeHTTP(recorder, request)
			compressed := recorder.Body.Len()
			reader, err := gzip.NewReader(recorder.Body)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(reader)
			if err != nil || string(body) != long || recorder.Code != 201 {
				t.Errorf("answered %d with %d bytes (%v)", recorder.Code, len(body), err)
			}
			if length := recorder.Header().Get("Content-Length"); length != "" && length != fmt.Sprint(compressed) {
				t.Errorf("announced %s bytes, sent %d", length, compressed)
			}
		})
	}
}

// TestNested has all requests of a test in one transaction, as the tests of an application can.
func TestNested(t *testing.T) {
	app := open(t, openDatabase)
	outer, err := app.client.Tx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	app.Use(middleware.Recover(), transaction.Middleware(transaction.Nested(outer.Client())))
	app.POST("/:value", func(c echo.Context) error {
		if err := save(c, c.Param("value")); err != nil {
			return err
		}
		if c.Param("value") == "undone" {
			return errTest
		}
		return transaction.Savepoint(c, func(*ent.Client) error { return save(c, "inner") })
	})
	app.GET("/", func(c echo.Context) error {
		n, err := transaction.Client[*ent.Client](c).Message.Query().Count(c.Request().Context())
		if err != nil {
			return err
		}
		return c.String(200, fmt.Sprint(n))
	})
	app.do(http.MethodPost, "/a")
	app.do(http.MethodPost, "/undone")
	app.do(http.MethodPost, "/b")
	if _, body := app.do(http.MethodGet, "/"); body != "4" {
		t.Errorf("inside there are %s, want 4", body)
	}
	if err := outer.Rollback(); err != nil {
		t.Fatal(err)
	}
	if got := app.values(); got != "" {
		t.Errorf("afterwards the database holds %q", got)
	}
}

// TestErrorOfARefusalIsReturned has a middleware further out look at the error, although the answer is the handler's own.
func TestErrorOfARefusalIsReturned(t *testing.T) {
	app := open(t, openDatabase)
	returned := make(chan error, 1)
	app.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			err := next(c)
			returned <- err
			return err
		}
	}, transaction.Middleware(app.begin))
	app.POST("/", func(c echo.Context) error { return errors.Join(c.String(http.StatusConflict, "refused"), errTest) })
	response, body := app.do(http.MethodPost, "/")
	if err := <-returned; response.StatusCode != http.StatusConflict || body != "refused" || !errors.Is(err, errTest) {
		t.Errorf("answered %d %q, and returned %v", response.StatusCode, body, err)
	}
}

// TestMiddlewareThatCallsTwice has a middleware further out run the rest of the chain again, which is another request to this one.
func TestMiddlewareThatCallsTwice(t *testing.T) {
	app := open(t, openDatabase)
	app.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if err := next(c); err != nil {
				return err
			}
			return next(c)
		}
	}, transaction.Middleware(app.begin))
	app.POST("/", func(c echo.Context) error { return save(c, "a") })
	if response, body := app.do(http.MethodPost, "/"); response.StatusCode != 200 || app.values() != "a a" {
		t.Errorf("answered %d %q, the database holds %q", response.StatusCode, body, app.values())
	}
}

// TestNestedRequestsTakeTurns has a request wait for its turn until its deadline, while another one is served.
func TestNestedRequestsTakeTurns(t *testing.T) {
	app := open(t, openDatabase)
	outer, err := app.client.Tx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer outer.Rollback()
	app.Use(transaction.Middleware(transaction.Nested(outer.Client())))
	post := func(path string, limit time.Duration) int {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		recorder := httptest.NewRecorder()
		app.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, path, nil).WithContext(ctx))
		return recorder.Code
	}
	app.POST("/second", func(c echo.Context) error { transaction.Client[*ent.Client](c); return nil })
	app.POST("/first", func(c echo.Context) error {
		transaction.Client[*ent.Client](c)
		if status := post("/second", 50*time.Millisecond); status != http.StatusServiceUnavailable {
			t.Errorf("the second request was answered %d", status)
		}
		return nil
	})
	if status := post("/first", time.Minute); status != http.StatusOK {
		t.Errorf("the first request was answered %d", status)
	}
}
