package transaction_test

import (
	"database/sql"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/labstack/echo/v4"

	"daybook/database"
	"daybook/database/databasetest"
	"daybook/ent"
	"daybook/ent/message"
	"daybook/transaction"
)

// TestTransactionsThatCollide has two requests that both have done their first step before either does its second one. The
// database refuses one of them, which runs again.
func TestTransactionsThatCollide(t *testing.T) {
	if !databasetest.Postgres() {
		t.Skip("on SQLite they take turns")
	}
	update := func(c echo.Context, id int) error {
		client := transaction.Client[*ent.Client](c)
		_, err := client.ExecContext(c.Request().Context(), "UPDATE messages SET value = value || 'x' WHERE id = $1", id)
		return err
	}
	for name, test := range map[string]struct {
		marks         []echo.MiddlewareFunc
		first, second func(c echo.Context, own, other int) error
		want          []string
	}{
		// Each takes its own value away only if the other one's is there: one must stay.
		"write skew": {[]echo.MiddlewareFunc{transaction.Isolation(sql.LevelSerializable)},
			func(c echo.Context, _, _ int) error {
				_, err := transaction.Client[*ent.Client](c).Message.Query().Count(c.Request().Context())
				return err
			},
			func(c echo.Context, own, _ int) error {
				ctx, messages := c.Request().Context(), transaction.Client[*ent.Client](c).Message
				if n, err := messages.Query().Count(ctx); err != nil || n < 2 {
					return err
				}
				_, err := messages.Delete().Where(message.ID(own)).Exec(ctx)
				return err
			}, []string{"a"}},
		"deadlock": {nil,
			func(c echo.Context, own, _ int) error { return update(c, own) },
			func(c echo.Context, _, other int) error { return update(c, other) },
			[]string{"axx", "axx"}},
	} {
		t.Run(name, func(t *testing.T) {
			app := start(t, transaction.Retry(database.IsRepeatable))
			var ids []int
			for range 2 {
				ids = append(ids, app.client.Message.Create().SetValue("a").SaveX(t.Context()).ID)
			}
			var attempts atomic.Int32
			var met sync.WaitGroup
			met.Add(2)
			app.POST("/:client", func(c echo.Context) error {
				own, other := ids[0], ids[1]
				if c.Param("client") == "b" {
					own, other = other, own
				}
				if err := test.first(c, own, other); err != nil {
					return err
				}
				if attempts.Add(1) <= 2 { // later ones meet nobody
					met.Done()
					met.Wait()
				}
				return test.second(c, own, other)
			}, test.marks...)
			var clients sync.WaitGroup
			for _, path := range []string{"/a", "/b"} {
				clients.Go(func() {
					if response, body := app.do(http.MethodPost, path); response.StatusCode != 200 {
						t.Errorf("%s: answered %d %q", path, response.StatusCode, body)
					}
				})
			}
			clients.Wait()
			if n := attempts.Load(); n != 3 {
				t.Errorf("%d attempts, want 3", n)
			}
			if got, _ := app.valuesAfter(0); !slices.Equal(got, test.want) {
				t.Errorf("the database holds %q, want %q", got, test.want)
			}
			app.nothingInUse()
		})
	}
}
