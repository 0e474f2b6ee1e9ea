package transaction_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"daybook/database"
	"daybook/ent" // your own
	"daybook/transaction"
)

func Example() {
	folder, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)

	ctx := context.Background()
	driver, err := database.Open(ctx, filepath.Join(folder, "notes.db"))
	if err != nil {
		panic(err)
	}
	client := ent.NewClient(ent.Driver(driver))
	defer client.Close()
	if err := client.Schema.Create(ctx); err != nil {
		panic(err)
	}

	e := echo.New()
	e.Use(middleware.Recover(), transaction.Middleware(client.BeginTx))

	e.POST("/notes", func(c echo.Context) error {
		err := transaction.Client[*ent.Client](c).Message.Create().
			SetValue(c.FormValue("text")).
			Exec(c.Request().Context())
		if err != nil {
			return err
		}
		if c.FormValue("text") == "second thoughts" {
			return echo.NewHTTPError(http.StatusConflict) // what was stored is undone
		}
		return c.String(http.StatusCreated, "stored") // leaves when it is committed
	})
	e.GET("/notes", func(c echo.Context) error {
		n, err := transaction.Client[*ent.Client](c).Message.Query().Count(c.Request().Context())
		if err != nil {
			return err
		}
		return c.String(http.StatusOK, fmt.Sprint(n, " stored"))
	})

	for _, request := range []*http.Request{
		httptest.NewRequest(http.MethodPost, "/notes?text=hello", nil),
		httptest.NewRequest(http.MethodPost, "/notes?text=second+thoughts", nil),
		httptest.NewRequest(http.MethodGet, "/notes", nil),
	} {
		answer := httptest.NewRecorder()
		e.ServeHTTP(answer, request)
		fmt.Println(answer.Code, answer.Body)
	}
	// Output:
	// 201 stored
	// 409 {"message":"Conflict"}
	//
	// 200 1 stored
}
