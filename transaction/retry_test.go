package transaction_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"daybook/database"
	"daybook/ent"
	"daybook/transaction"
)

var errRepeat = errors.New("could not serialize access")

// retry is what makes errRepeat repeatable. It must not be asked without an error.
var retry = transaction.Retry(func(err error) bool { return strings.Contains(err.Error(), errRepeat.Error()) })

// TestRetryBeginsClean fails two attempts, and checks that the next one finds the whole body, as long as it may be, an empty response
// and the request's own context. Only what was stored with c.Set is still there.
func TestRetryBeginsClean(t *testing.T) {
	var fields bytes.Buffer
	form := multipart.NewWriter(&fields)
	if err := form.WriteField("text", "hello"); err != nil {
		t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	read := func(c echo.Context) string {
		text := c.FormValue("text")
		c.Request().Form.Set("text", "stale")
		return text
	}
	for _, test := range []struct {
		name, contentType, body string
		read                    func(c echo.Context) string
	}{
		{"form", echo.MIMEApplicationForm, "text=hello", read},
		{"multipart", form.FormDataContentType(), fields.String(), read},
		{"JSON", echo.MIMEApplicationJSON, `{"text":"hello"}`, func(c echo.Context) string {
			var object struct{ Text string }
			if err := c.Bind(&object); err != nil {
				t.Error(err)
			}
			return object.Text
		}},
		{"byte by byte", echo.MIMETextPlain, "hello", func(c echo.Context) string {
			text, err := io.ReadAll(iotest.OneByteReader(c.Request().Body))
			if err != nil {
				t.Error(err)
			}
			return string(text)
		}},
		{"half of it at first", echo.MIMETextPlain, "hello", func(c echo.Context) string {
			half := make([]byte, 2)
			if _, err := io.ReadFull(c.Request().Body, half); err != nil {
				t.Error(err)
			}
			if c.Get("attempt") == nil {
				return string(half) + "llo" // the first attempt leaves the rest unread
			}
			rest, err := io.ReadAll(c.Request().Body)
			if err != nil {
				t.Error(err)
			}
			return string(half) + string(rest)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			app := open(t, openDatabase)
			app.Use(middleware.Recover(), transaction.Middleware(app.begin, retry, transaction.MaxHeld(len(test.body))))
			attempts := 0
			app.POST("/", func(c echo.Context) error {
				attempts++
				if text := test.read(c); text != "hello" {
					t.Errorf("attempt %d reads %q", attempts, text)
				}
				if c.Request().Context().Value(errRepeat) != nil {
					t.Errorf("attempt %d finds the context of the one before", attempts)
				}
				if before, _ := c.Get("attempt").(int); before != attempts-1 {
					t.Errorf("attempt %d finds that attempt %d was the last one", attempts, before)
				}
				c.Set("attempt", attempts)
				c.SetRequest(c.Request().WithContext(context.WithValue(c.Request().Context(), errRepeat, true)))
				if len(c.Response().Header()["Set-Cookie"]) != 0 {
					t.Errorf("attempt %d finds a cookie", attempts)
				}
				c.SetCookie(&http.Cookie{Name: "attempt", Value: fmt.Sprint(attempts)})
				if err := save(c, fmt.Sprint(attempts)); err != nil {
					return err
				}
				if err := c.String(201, fmt.Sprint(attempts)); err != nil {
					return err
				}
				if attempts < 3 {
					return fmt.Errorf("wrapped: %w", errRepeat)
				}
				return nil
			})
			response, body := app.send(http.MethodPost, "/", test.contentType, test.body)
			if response.StatusCode != 201 || body != "3" || len(response.Cookies()) != 1 || response.Cookies()[0].Value != "3" {
				t.Errorf("answered %d %q %v", response.StatusCode, body, response.Cookies())
			}
			if got := app.values(); got != "3" {
				t.Errorf("the database holds %q", got)
			}
			app.nothingInUse()
		})
	}
}

func TestRetryAtCommit(t *testing.T) {
	faults := &faults{}
	app := open(t, faults.openDatabase)
	app.Use(transaction.Middleware(app.begin, retry))
	app.POST("/", func(c echo.Context) error {
		if err := save(c, "a"); err != nil {
			return err
		}
		return c.String(201, "stored")
	})
	faults.fail(commit, 2, errRepeat)
	if response, body := app.do(http.MethodPost, "/"); response.StatusCode != 201 || app.values() != "a" {
		t.Errorf("answered %d %q, the database holds %q", response.StatusCode, body, app.values())
	}
	faults.fail(commit, 3, errRepeat)
	var seen error
	app.HTTPErrorHandler = func(err error, c echo.Context) { seen = err; app.DefaultHTTPErrorHandler(err, c) }
	response, body := app.do(http.MethodPost, "/")
	if response.StatusCode != 503 || response.Header.Get("Retry-After") == "" || !errors.Is(seen, errRepeat) {
		t.Errorf("used up: answered %d %q, Retry-After %q, after %v", response.StatusCode, body, response.Header.Get("Retry-After"), seen)
	}
	if got := app.values(); got != "a" {
		t.Errorf("the database holds %q", got)
	}
}

// TestNoRetry counts the attempts of what must not be repeated.
func TestNoRetry(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	for name, test := range map[string]struct {
		body    string
		handler echo.HandlerFunc
	}{
		"another error":              {"", func(echo.Context) error { return errTest }},
		"a body larger than is kept": {strings.Repeat("x", 101), func(c echo.Context) error { _, _ = io.ReadAll(c.Request().Body); return errRepeat }},
		"such a body, byte by byte": {strings.Repeat("x", 101), func(c echo.Context) error {
			_, _ = io.ReadAll(iotest.OneByteReader(c.Request().Body))
			return errRepeat
		}},
		"a context that ended":        {"", func(echo.Context) error { end(); return errRepeat }},
		"a response that has left":    {"", func(c echo.Context) error { c.Response().Flush(); return errRepeat }},
		"a panic, even of that error": {"", func(echo.Context) error { panic(errRepeat) }},
	} {
		t.Run(name, func(t *testing.T) {
			app := open(t, openDatabase)
			app.Use(middleware.Recover(), func(next echo.HandlerFunc) echo.HandlerFunc {
				return func(c echo.Context) error {
					if name == "a context that ended" {
						c.SetRequest(c.Request().WithContext(ended))
					}
					return next(c)
				}
			}, transaction.Middleware(app.begin, retry, transaction.MaxHeld(100)))
			attempts := 0
			app.POST("/", func(c echo.Context) error { attempts++; return test.handler(c) }, transaction.Read)
			response, err := http.Post(app.url, echo.MIMETextPlain, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, response.Body) // the one that has left is broken off
			response.Body.Close()
			app.server.Close() // waits for the request's end
			if attempts != 1 {
				t.Errorf("%d attempts", attempts)
			}
		})
	}
}

// TestRetryOfASnapshot has the database itself ask for another attempt: with ent's own driver a transaction on SQLite begins
// deferred, and if another one writes between its first read and its first write, it cannot go on. Nor can one on PostgreSQL, if it
// has a snapshot and writes the same row.
func TestRetryOfASnapshot(t *testing.T) {
	app := open(t, openStock)
	app.Use(transaction.Middleware(app.begin, transaction.Retry(database.IsRepeatable)))
	if err := app.client.Message.Create().SetValue("a").Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	add := func(client *ent.Client) error {
		_, err := client.ExecContext(t.Context(), "UPDATE messages SET value = value || 'a'")
		return err
	}
	attempts := 0
	app.POST("/", func(c echo.Context) error {
		if _, err := transaction.Client[*ent.Client](c).Message.Query().Count(c.Request().Context()); err != nil {
			return err
		}
		if attempts++; attempts == 1 {
			if err := add(app.client); err != nil {
				return err
			}
		}
		return add(transaction.Client[*ent.Client](c))
	}, transaction.Isolation(sql.LevelRepeatableRead))
	if response, body := app.do(http.MethodPost, "/"); response.StatusCode != 200 || attempts != 2 || app.values() != "aaa" {
		t.Errorf("answered %d %q after %d attempts, the database holds %q", response.StatusCode, body, attempts, app.values())
	}
	app.nothingInUse()
}
