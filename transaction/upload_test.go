package transaction_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"daybook/database"
	"daybook/ent"
	"daybook/transaction"
)

// TestUploadedFilesAreRemoved parses forms whose file is written to a temporary folder, and looks into it at the end of each
// attempt, when net/http has not yet removed what it knows of.
func TestUploadedFilesAreRemoved(t *testing.T) {
	for _, test := range []struct {
		name    string
		options []transaction.Option
		end     func(attempt int) error
	}{
		{"with Retry", []transaction.Option{retry}, func(int) error { return nil }},
		{"repeated", []transaction.Option{retry}, func(attempt int) error {
			if attempt < 3 {
				return errRepeat
			}
			return nil
		}},
		{"with Retry and a panic", []transaction.Option{retry}, func(int) error { panic(errTest) }},
		{"with Context", []transaction.Option{transaction.Context(ent.NewContext)}, func(int) error { return nil }},
		{"with Context and an error", []transaction.Option{transaction.Context(ent.NewContext)}, func(int) error { return errTest }},
	} {
		t.Run(test.name, func(t *testing.T) {
			app := open(t, openDatabase)
			var log bytes.Buffer
			test.options = append(test.options, transaction.Log(slog.New(slog.NewTextHandler(&log, nil))))
			files := temporaryFiles(t)
			left := make(chan []string, 1)
			app.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
				return func(c echo.Context) error {
					defer func() { left <- files() }()
					return next(c)
				}
			}, middleware.Recover(), transaction.Middleware(app.begin, test.options...))
			attempts := 0
			app.POST("/", func(c echo.Context) error {
				attempts++
				if found := files(); len(found) != 0 {
					t.Errorf("attempt %d finds %q", attempts, found)
				}
				hook := func(context.Context) error {
					if len(files()) != 1 {
						t.Error("the hook does not find the file")
					}
					return nil
				}
				transaction.AfterCommit(c, hook)
				transaction.AfterRollback(c, hook)
				if err := c.Request().ParseMultipartForm(1); err != nil {
					return err
				}
				if found := files(); len(found) != 1 {
					t.Errorf("attempt %d has written %q", attempts, found)
				}
				return test.end(attempts)
			})
			contentType, body := upload(t)
			app.send(http.MethodPost, "/", contentType, body)
			if files := <-left; len(files) != 0 {
				t.Errorf("the request has left %q", files)
			}
			app.server.Close() // waits for the request's end
			if strings.Contains(log.String(), "remove uploaded files") {
				t.Errorf("the log has %q", &log)
			}
		})
	}
}

// TestUploadedFilesOfAMiddlewareStay has a middleware further out parse the form: it is not the attempt's to clean up.
func TestUploadedFilesOfAMiddlewareStay(t *testing.T) {
	for name, handler := range map[string]echo.HandlerFunc{
		"used": func(c echo.Context) error { _, err := c.FormFile("file"); return err },
		"replaced by a request without a form": func(c echo.Context) error {
			c.SetRequest(httptest.NewRequest(http.MethodPost, "/", nil))
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			app := open(t, openDatabase)
			files := temporaryFiles(t)
			stayed := make(chan []string, 1)
			app.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
				return func(c echo.Context) error {
					if err := c.Request().ParseMultipartForm(1); err != nil {
						return err
					}
					err := next(c)
					stayed <- files()
					return err
				}
			}, transaction.Middleware(app.begin, transaction.Retry(database.IsRepeatable), transaction.Context(ent.NewContext)))
			app.POST("/", handler)
			contentType, body := upload(t)
			if response, body := app.send(http.MethodPost, "/", contentType, body); response.StatusCode != 200 {
				t.Errorf("answered %d %q", response.StatusCode, body)
			}
			if files := <-stayed; len(files) != 1 {
				t.Errorf("after the transaction the middleware finds %q", files)
			}
		})
	}
}

// TestUploadedFilesThatCannotBeRemoved puts a folder in the file's place.
func TestUploadedFilesThatCannotBeRemoved(t *testing.T) {
	var log bytes.Buffer
	app := start(t, retry, transaction.Log(slog.New(slog.NewTextHandler(&log, nil))))
	files := temporaryFiles(t)
	app.POST("/", func(c echo.Context) error {
		if err := c.Request().ParseMultipartForm(1); err != nil {
			return err
		}
		for _, file := range files() {
			if err := errors.Join(os.Remove(file), os.MkdirAll(filepath.Join(file, "folder"), 0o700)); err != nil {
				return err
			}
		}
		return c.String(http.StatusCreated, "stored")
	})
	contentType, body := upload(t)
	if response, body := app.send(http.MethodPost, "/", contentType, body); response.StatusCode != 201 {
		t.Errorf("answered %d %q", response.StatusCode, body)
	}
	app.server.Close() // waits for the request's end
	if !strings.Contains(log.String(), "remove uploaded files") || strings.Contains(log.String(), "error=<nil>") {
		t.Errorf("the log has %q", &log)
	}
}

// temporaryFiles makes temporary files go into an empty folder, and returns a function that lists them.
func temporaryFiles(t *testing.T) (list func() []string) {
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	return func() []string {
		files, err := filepath.Glob(filepath.Join(folder, "multipart-*"))
		if err != nil {
			t.Error(err)
		}
		return files
	}
}

// upload returns a multipart body with a file in it.
func upload(t *testing.T) (contentType, body string) {
	var content bytes.Buffer
	form := multipart.NewWriter(&content)
	file, err := form.CreateFormFile("file", "file.txt")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(file, strings.Repeat("x", 1000)); err != nil {
		t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	return form.FormDataContentType(), content.String()
}
