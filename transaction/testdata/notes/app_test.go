package main

import (
	"bytes"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"daybook/database"
	"daybook/transaction"

	"example.org/notes/ent"
)

// TestNotes sends all its requests in one transaction, which is rolled back at the end, so that the next test could use the
// same database.
func TestNotes(t *testing.T) {
	client := open(t)
	tx, err := client.Tx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() // again, unless a step has failed
	e := newApp(transaction.Nested(tx.Client()))
	var log bytes.Buffer
	e.Logger.SetOutput(&log)

	for _, step := range []struct {
		method, path, texts string
		status              int
		answer              string
	}{
		{"POST", "/notes", "milk", 201, `{"id":1,"text":"milk"}`},
		{"POST", "/notes", "milk", 409, `{"message":"There is such a note already."}`},
		{"POST", "/notes", "", 422, `{"message":"The note is empty."}`},
		{"POST", "/import", "bread,milk,salt", 200, `{"stored":2}`},
		{"POST", "/import", "oil,,flour", 422, `{"message":"The note is empty."}`},
		{"POST", "/notes/1/pin", "", 200, `{"id":1,"text":"milk","pinned":true}`},
		{"POST", "/notes/7/pin", "", 404, `{"message":"There is no such note."}`},
		{"GET", "/notes", "", 200, `[{"id":1,"text":"milk","pinned":true},{"id":2,"text":"bread"},{"id":3,"text":"salt"}]`},
		{"GET", "/count", "", 200, `{"count":3}`},
	} {
		status, answer := do(e, step.method, step.path, step.texts)
		if status != step.status || answer != step.answer {
			t.Errorf("%s %s %q: %d %s, want %d %s", step.method, step.path, step.texts, status, answer, step.status, step.answer)
		}
	}
	if n := strings.Count(log.String(), "pinned: "); n != 1 || !strings.Contains(log.String(), "pinned: milk") {
		t.Errorf("logged %d times that a note is pinned:\n%s", n, &log)
	}

	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Note.Query().Count(t.Context()); n != 0 || err != nil {
		t.Errorf("the database holds %d notes, %v", n, err)
	}
}

// open returns a client of an empty database.
func open(t *testing.T) *ent.Client {
	t.Helper()
	driver, err := database.Open(t.Context(), filepath.Join(t.TempDir(), "notes.db"))
	if err != nil {
		t.Fatal(err)
	}
	client := ent.NewClient(ent.Driver(driver))
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := client.Schema.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return client
}

// do sends a form with the texts, which are separated by commas.
func do(e *echo.Echo, method, path, texts string) (status int, answer string) {
	form := url.Values{"text": strings.Split(texts, ",")}
	request := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
	request.Header.Set(echo.HeaderContentType, echo.MIMEApplicationForm)
	recorder := httptest.NewRecorder()
	e.ServeHTTP(recorder, request)
	return recorder.Code, strings.TrimSpace(recorder.Body.String())
}
