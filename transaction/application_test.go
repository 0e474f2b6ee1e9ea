package transaction_test

import (
	"context"
	"database/sql"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"daybook/database"
	"daybook/database/databasetest"
	"daybook/ent"
	"daybook/ent/message"
	_ "daybook/ent/runtime" // the hooks of the schema
	"daybook/transaction"
)

// application is an Echo application with a database of its own, served on a real listener.
type application struct {
	*echo.Echo
	t      *testing.T
	url    string
	server *httptest.Server
	driver dialect.Driver
	client *ent.Client // outside of any request
	begin  func(context.Context, *sql.TxOptions) (*ent.Tx, error)
}

// start serves an application with the middleware.
func start(t *testing.T, options ...transaction.Option) *application {
	t.Helper()
	app := open(t, openDatabase)
	app.Use(middleware.Recover(), transaction.Middleware(app.begin, options...))
	return app
}

// databases are what an application may stand on: package database with each database that it opens, and ent's own driver.
var databases = map[string]func(t *testing.T) dialect.Driver{
	"package database": openDatabase,
	"ent's driver":     openStock,
}

func openDatabase(t *testing.T) dialect.Driver {
	driver, err := database.Open(t.Context(), databasetest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	return driver
}

// openStock opens the database as ent's documentation does.
func openStock(t *testing.T) dialect.Driver {
	name, driver, url := dialect.Postgres, "pgx", databasetest.New(t)
	if !databasetest.Postgres() {
		name, driver = dialect.SQLite, sqliteName() // the one that database imports
		url = "file:" + url + "?_fk=1&_journal_mode=WAL&_busy_timeout=5000"
	}
	db, err := sql.Open(driver, url)
	if err != nil {
		t.Fatal(err)
	}
	return entsql.OpenDB(name, db)
}

// open serves an application without the middleware.
func open(t *testing.T, database func(*testing.T) dialect.Driver) *application {
	t.Helper()
	driver := database(t)
	client := ent.NewClient(ent.Driver(driver))
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if err := client.Schema.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := echo.New()
	e.Logger.SetOutput(io.Discard)
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	return &application{Echo: e, t: t, url: server.URL, server: server, driver: driver, client: client, begin: client.BeginTx}
}

// do sends a request and reads the whole answer.
func (a *application) do(method, path string) (*http.Response, string) {
	a.t.Helper()
	return a.send(method, path, "", "")
}

// send sends a request with a body of the type, and reads the whole answer.
func (a *application) send(method, path, contentType, body string) (*http.Response, string) {
	a.t.Helper()
	request, err := http.NewRequestWithContext(a.t.Context(), method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	response, err := http.DefaultTransport.RoundTrip(request) // a redirect is an answer here
	if err != nil {
		a.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return response, string(content)
}

// values returns what the database holds.
func (a *application) values() string {
	a.t.Helper()
	messages, err := a.client.Message.Query().Order(ent.Asc(message.FieldID)).All(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	var values []string
	for _, m := range messages {
		values = append(values, m.Value)
	}
	return strings.Join(values, " ")
}

// nothingInUse fails if a connection was not given back: more transactions of both kinds than there are connections go
// on one after another.
func (a *application) nothingInUse() {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 30*time.Second)
	defer cancel()
	for range 100 {
		for _, readOnly := range []bool{true, false} {
			tx, err := a.client.BeginTx(ctx, &sql.TxOptions{ReadOnly: readOnly})
			if err != nil {
				a.t.Fatal(err)
			}
			if _, err := tx.Message.Query().Exist(ctx); err != nil {
				a.t.Fatalf("a connection is still in use: %v", err)
			}
			if err := tx.Rollback(); err != nil {
				a.t.Fatal(err)
			}
		}
	}
}

// save stores a message in the request's transaction.
func save(c echo.Context, value string) error {
	return transaction.Client[*ent.Client](c).Message.Create().SetValue(value).Exec(c.Request().Context())
}

// sqliteName returns the name under which database/sql has SQLite's driver.
func sqliteName() string {
	names := sql.Drivers()
	return names[slices.IndexFunc(names, func(name string) bool { return strings.HasPrefix(name, "sqlite") })]
}
