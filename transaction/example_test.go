package transaction_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"daybook/database"
	"daybook/database/databasetest"
	"daybook/ent" // in your application, your own
	"daybook/ent/message"
	"daybook/transaction"
)

// openClient opens a client as an application does. remove deletes its database.
func openClient() (client *ent.Client, remove func()) {
	url, removeDatabase, err := databasetest.Create()
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	driver, err := database.Open(ctx, url)
	if err != nil {
		panic(err)
	}
	client = ent.NewClient(ent.Driver(driver))
	if err := client.Schema.Create(ctx); err != nil {
		panic(err)
	}
	return client, func() {
		client.Close()
		removeDatabase()
	}
}

// try sends a request to the application and prints the answer.
func try(e *echo.Echo, method, path string) {
	answer := httptest.NewRecorder()
	e.ServeHTTP(answer, httptest.NewRequest(method, path, nil))
	fmt.Println(strings.TrimSpace(fmt.Sprint(answer.Code, " ", answer.Body)))
}

// The whole set-up, with two usual handlers.
func Example() {
	client, remove := openClient()
	defer remove()

	e := echo.New()
	e.Use(middleware.Recover(), transaction.Middleware(client.BeginTx))

	e.POST("/messages", func(c echo.Context) error {
		err := transaction.Client[*ent.Client](c).Message.Create().
			SetValue(c.FormValue("text")).
			Exec(c.Request().Context())
		if err != nil {
			return err
		}
		if c.FormValue("text") == "second thoughts" {
			return c.String(http.StatusConflict, "refused") // what was stored is undone
		}
		return c.String(http.StatusCreated, "stored") // sent after the commit
	})
	e.GET("/messages", func(c echo.Context) error { // reads one snapshot
		n, err := transaction.Client[*ent.Client](c).Message.Query().Count(c.Request().Context())
		if err != nil {
			return err
		}
		return c.String(http.StatusOK, fmt.Sprint(n, " stored"))
	})

	try(e, http.MethodPost, "/messages?text=hello")
	try(e, http.MethodPost, "/messages?text=second+thoughts")
	try(e, http.MethodGet, "/messages")
	// Output:
	// 201 stored
	// 409 refused
	// 200 1 stored
}

// With everything that package database offers.
func ExampleMiddleware() {
	client, remove := openClient()
	defer remove()

	e := echo.New()
	e.Use(middleware.Recover(), transaction.Middleware(client.BeginTx,
		transaction.Retry(database.IsRepeatable),
		transaction.Unavailable(database.IsBusy),
		transaction.Unknown(database.IsUnknown),
		transaction.Trace(database.Trace),
		transaction.Observe(func(_ context.Context, r transaction.Report) {
			fmt.Println(r.Route, r.Outcome, "after", r.Statements, "statement")
		}),
	))
	e.POST("/messages", func(c echo.Context) error {
		return save(c, "hello")
	})

	try(e, http.MethodPost, "/messages")
	// Output:
	// POST /messages committed after 1 statement
	// 200
}

// A search by POST, for long texts. It cannot write, by mistake or otherwise.
func ExampleRead() {
	client, remove := openClient()
	defer remove()

	e := echo.New()
	e.Use(transaction.Middleware(client.BeginTx))
	e.POST("/search", func(c echo.Context) error {
		n, err := transaction.Client[*ent.Client](c).Message.Query().
			Where(message.ValueContains(c.FormValue("text"))).
			Count(c.Request().Context())
		if err != nil {
			return err
		}
		if err := save(c, c.FormValue("text")); err != nil {
			return echo.NewHTTPError(http.StatusInternalServerError, "A search stores nothing.").SetInternal(err)
		}
		return c.String(http.StatusOK, fmt.Sprint(n, " found"))
	}, transaction.Read)

	try(e, http.MethodPost, "/search?text=hello")
	// Output: 500 {"message":"A search stores nothing."}
}

// Publish what others can now see.
func ExampleAfterCommit() {
	client, remove := openClient()
	defer remove()

	e := echo.New()
	e.Use(transaction.Middleware(client.BeginTx))
	e.POST("/:value", func(c echo.Context) error {
		value := c.Param("value")
		transaction.AfterCommit(c, func(ctx context.Context) error {
			n, err := client.Message.Query().Count(ctx)
			fmt.Println(value, "is stored,", n, "in all")
			return err
		})
		if err := save(c, value); err != nil {
			return err
		}
		if value == "bad" {
			return echo.ErrConflict
		}
		return c.NoContent(http.StatusNoContent)
	})

	try(e, http.MethodPost, "/good")
	try(e, http.MethodPost, "/bad")
	// Output:
	// good is stored, 1 in all
	// 204
	// 409 {"message":"Conflict"}
}

// Import what can be imported, and skip the rest.
func ExampleSavepoint() {
	client, remove := openClient()
	defer remove()

	e := echo.New()
	e.Use(transaction.Middleware(client.BeginTx))
	e.POST("/import", func(c echo.Context) error {
		imported := 0
		for _, value := range []string{"one", "two", "", "three"} {
			err := transaction.Savepoint(c, func(client *ent.Client) error {
				return client.Message.Create().SetValue(value).Exec(c.Request().Context())
			})
			switch {
			case ent.IsValidationError(err): // nothing of this one is left
			case err != nil:
				return err
			default:
				imported++
			}
		}
		return c.String(http.StatusOK, fmt.Sprint(imported, " imported"))
	})

	try(e, http.MethodPost, "/import")
	// Output: 200 3 imported
}

// Count failed logins, although their answer is a refusal.
func ExampleKeep() {
	client, remove := openClient()
	defer remove()

	e := echo.New()
	e.Use(transaction.Middleware(client.BeginTx,
		transaction.Keep(func(c echo.Context, status int, err error) bool {
			return err == nil && (status < 400 || c.Path() == "/login")
		}),
	))
	e.POST("/login", func(c echo.Context) error {
		if err := save(c, "a failed login"); err != nil {
			return err
		}
		return c.String(http.StatusUnauthorized, "who are you?")
	})

	try(e, http.MethodPost, "/login")
	fmt.Println(client.Message.Query().CountX(context.Background()), "counted")
	// Output:
	// 401 who are you?
	// 1 counted
}

// newApp is how an application is written whose tests can use [transaction.Nested].
func newApp[T transaction.Tx[*ent.Client]](begin func(context.Context, *sql.TxOptions) (T, error)) *echo.Echo {
	e := echo.New()
	e.Use(transaction.Middleware(begin))
	e.POST("/", func(c echo.Context) error { return save(c, "hello") })
	return e
}

// All requests of a test in one transaction, which is rolled back at its end. In production, the same application begins
// with newApp(client.BeginTx).
func ExampleNested() {
	client, remove := openClient()
	defer remove()

	ctx := context.Background()
	outer, err := client.Tx(ctx)
	if err != nil {
		panic(err)
	}
	e := newApp(transaction.Nested(outer.Client()))
	try(e, http.MethodPost, "/")
	try(e, http.MethodPost, "/")
	fmt.Println(outer.Message.Query().CountX(ctx), "stored in the test")

	if err := outer.Rollback(); err != nil {
		panic(err)
	}
	fmt.Println(client.Message.Query().CountX(ctx), "stored after it")
	_, err = outer.Message.Query().Count(ctx)
	fmt.Println("the transaction has ended:", errors.Is(err, sql.ErrTxDone))
	// Output:
	// 200
	// 200
	// 2 stored in the test
	// 0 stored after it
	// the transaction has ended: true
}
