package transaction_test

import (
	"database/sql"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/labstack/echo/v4"

	"daybook/database"
	"daybook/ent"
	"daybook/transaction"
)

// BenchmarkMiddleware measures a request with a short response, in a transaction without a statement: without a middleware,
// with the usual twelve lines, and with this package.
func BenchmarkMiddleware(b *testing.B) {
	driver, err := database.Open(b.Context(), b.TempDir()+"/test.db")
	if err != nil {
		b.Fatal(err)
	}
	client := ent.NewClient(ent.Driver(driver))
	defer client.Close()
	none := func(c echo.Context) error { return c.String(http.StatusCreated, "stored") }
	for _, bench := range []struct {
		name       string
		middleware []echo.MiddlewareFunc
		handler    echo.HandlerFunc
	}{
		{"none", nil, none},
		{"usual", []echo.MiddlewareFunc{usual(client)}, func(c echo.Context) error {
			_ = c.Get("tx").(*ent.Tx).Client()
			return none(c)
		}},
		{"ours", []echo.MiddlewareFunc{transaction.Middleware(client.BeginTx)}, func(c echo.Context) error {
			_ = transaction.Client[*ent.Client](c)
			return none(c)
		}},
		{"ours with retries", []echo.MiddlewareFunc{transaction.Middleware(client.BeginTx, transaction.Retry(database.IsRepeatable))}, func(c echo.Context) error {
			_ = transaction.Client[*ent.Client](c)
			return none(c)
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			e := echo.New()
			e.Use(bench.middleware...)
			e.POST("/", bench.handler)
			request := httptest.NewRequest(http.MethodPost, "/", nil)
			w := &discard{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				e.ServeHTTP(w, request)
			}
		})
	}
}

// usual is the middleware that most applications have. It commits after the response was sent.
func usual(client *ent.Client) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			tx, err := client.BeginTx(c.Request().Context(), &sql.TxOptions{})
			if err != nil {
				return err
			}
			c.Set("tx", tx)
			if err := next(c); err != nil {
				_ = tx.Rollback()
				return err
			}
			return tx.Commit()
		}
	}
}

// discard is a client that ignores the response.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}
