package transaction_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"daybook/transaction"
)

func TestLargestResponseThatIsHeld(t *testing.T) {
	app := start(t, transaction.MaxHeld(10))
	app.POST("/:length", func(c echo.Context) error {
		length, err := strconv.Atoi(c.Param("length"))
		if err != nil {
			return err
		}
		n, err := c.Response().Write(make([]byte, length))
		if tooLarge := errors.Is(err, transaction.ErrResponseTooLarge); tooLarge != (length > 10) || tooLarge != (n == 0) {
			t.Errorf("a write of %d bytes: %d, %v", length, n, err)
		}
		return err
	})
	for path, want := range map[string]int{"/10": 200, "/11": 500} {
		if response, body := app.do(http.MethodPost, path); response.StatusCode != want {
			t.Errorf("%s: answered %d %q, want %d", path, response.StatusCode, body, want)
		}
	}
}

// TestResponseWithoutAStatusIsA200 has handlers that write or flush past Echo, which would set the status.
func TestResponseWithoutAStatusIsA200(t *testing.T) {
	seen := make(chan int, 1)
	app := start(t, transaction.Keep(func(_ echo.Context, status int, _ error) bool { seen <- status; return true }))
	for path, begin := range map[string]func(http.ResponseWriter) error{
		"/write": func(w http.ResponseWriter) error { _, err := io.WriteString(w, "done"); return err },
		"/flush": func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() },
	} {
		app.GET(path, func(c echo.Context) error { return begin(c.Response().Writer) })
		response, body := app.do(http.MethodGet, path)
		if status := <-seen; status != 200 || response.StatusCode != 200 {
			t.Errorf("%s: the status is %d, answered %d %q", path, status, response.StatusCode, body)
		}
	}
}

// TestContentLengthOfAHeldResponse has no listener, since net/http removes the header from answers that have no body.
func TestContentLengthOfAHeldResponse(t *testing.T) {
	app := start(t)
	app.Any("/:status", func(c echo.Context) error {
		if c.Request().Method == http.MethodHead {
			c.Response().Header().Set(echo.HeaderContentLength, "1234") // of what it would send
		}
		status, err := strconv.Atoi(c.Param("status"))
		if err != nil {
			return err
		}
		return c.NoContent(status)
	})
	for path, want := range map[string]string{"GET /200": "0", "GET /204": "", "GET /304": "", "HEAD /200": "1234"} {
		method, path, _ := strings.Cut(path, " ")
		recorder := httptest.NewRecorder()
		app.ServeHTTP(recorder, httptest.NewRequest(method, path, nil))
		if got := recorder.Header().Get(echo.HeaderContentLength); got != want {
			t.Errorf("%s %s: announced %q, want %q", method, path, got, want)
		}
	}
}

// brokenWriter is a client's writer whose first write fails. What follows must not be sent: the beginning would be missing.
type brokenWriter struct {
	http.ResponseWriter
	failed bool
}

func (w *brokenWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *brokenWriter) Write(b []byte) (int, error) {
	if !w.failed {
		w.failed = true
		return 0, errTest
	}
	return w.ResponseWriter.Write(b)
}

func TestResponseThatCannotBeSent(t *testing.T) {
	for name, test := range map[string]struct {
		method string
		end    func(c echo.Context) error
	}{
		"held":    {http.MethodPost, func(echo.Context) error { return nil }},
		"flushed": {http.MethodGet, func(c echo.Context) error { return http.NewResponseController(c.Response().Writer).Flush() }},
		"streamed": {http.MethodGet, func(c echo.Context) error {
			n, err := io.WriteString(c.Response(), large)
			if n != 0 {
				t.Errorf("%d bytes are written", n)
			}
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			app := open(t, openDatabase)
			returned := make(chan error, 1)
			app.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
				return func(c echo.Context) error {
					c.Response().Writer = &brokenWriter{ResponseWriter: c.Response().Writer}
					err := next(c)
					returned <- err
					return err
				}
			}, transaction.Middleware(app.begin))
			app.Add(test.method, "/", func(c echo.Context) error {
				if err := c.String(http.StatusOK, "beginning"); err != nil {
					return err
				}
				return test.end(c)
			})
			request, err := http.NewRequestWithContext(t.Context(), test.method, app.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			if response, err := http.DefaultTransport.RoundTrip(request); err == nil {
				if body, err := io.ReadAll(response.Body); err == nil {
					t.Errorf("answered %d %.60q as if it were all", response.StatusCode, body)
				}
				response.Body.Close()
			}
			if err := <-returned; !errors.Is(err, errTest) {
				t.Errorf("the middleware returned %v", err)
			}
		})
	}
}

// TestLongBodyIsNotKept measures memory, because nothing else shows what is kept for another attempt.
func TestLongBodyIsNotKept(t *testing.T) {
	app := start(t, retry, transaction.MaxHeld(1000))
	app.POST("/", func(c echo.Context) error {
		_, err := io.Copy(io.Discard, c.Request().Body)
		return err
	})
	const length = 16 << 20
	body := strings.Repeat("x", length)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if response, answer := app.send(http.MethodPost, "/", echo.MIMETextPlain, body); response.StatusCode != 200 {
		t.Errorf("answered %d %q", response.StatusCode, answer)
	}
	runtime.ReadMemStats(&after)
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > length/2 {
		t.Errorf("a body of %d bytes took %d bytes of memory", length, allocated)
	}
}
