package transaction_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"daybook/ent"
	"daybook/transaction"
)

// TestHooks has a handler that registers hooks of both kinds, and then ends in each way there is.
func TestHooks(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(c echo.Context) error
		want string
	}{
		{"committed", func(echo.Context) error { return nil }, "commit 1, commit 2"},
		{"an error", func(echo.Context) error { return errTest }, "rollback 1, rollback 2"},
		{"a refusal", func(c echo.Context) error { return c.NoContent(409) }, "rollback 1, rollback 2"},
		{"a panic", func(echo.Context) error { panic(errTest) }, "rollback 1, rollback 2"},
		{"doomed", func(c echo.Context) error { transaction.Doom(c); return nil }, "rollback 1, rollback 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			app := start(t)
			ran := make(chan string, 4)
			hook := func(name string) func(context.Context) error {
				return func(context.Context) error { ran <- name; return nil }
			}
			app.POST("/", func(c echo.Context) error {
				transaction.AfterRollback(c, hook("rollback 1"))
				transaction.AfterCommit(c, hook("commit 1"))
				transaction.AfterCommit(c, hook("commit 2"))
				transaction.AfterRollback(c, hook("rollback 2"))
				if err := save(c, "a"); err != nil {
					return err
				}
				return test.end(c)
			})
			app.do(http.MethodPost, "/")
			if got := <-ran + ", " + <-ran; got != test.want || len(ran) != 0 {
				t.Errorf("hooks ran: %s and %d more, want %s", got, len(ran), test.want)
			}
		})
	}
}

func TestHooksOfAFailedCommit(t *testing.T) {
	app := start(t)
	failCommits(t, app.driver)
	ran := make(chan string, 2)
	app.POST("/", func(c echo.Context) error {
		transaction.AfterCommit(c, func(context.Context) error { ran <- "commit"; return nil })
		transaction.AfterRollback(c, func(context.Context) error { ran <- "rollback"; return nil })
		return save(c, "a")
	})
	app.do(http.MethodPost, "/")
	if got := <-ran; got != "rollback" {
		t.Errorf("the hook that ran is that of a %s", got)
	}
}

// TestHooksAreIsolated has one hook fail and one panic, before one that writes in a transaction of its own. The client has
// its answer before that.
func TestHooksAreIsolated(t *testing.T) {
	var log bytes.Buffer
	app := start(t, transaction.Log(slog.New(slog.NewTextHandler(&log, nil))))
	answered, done := make(chan bool), make(chan error)
	app.POST("/", func(c echo.Context) error {
		transaction.AfterCommit(c, func(context.Context) error { return errors.New("the first fails") })
		transaction.AfterCommit(c, func(context.Context) error { panic("the second panics") })
		transaction.AfterCommit(c, func(ctx context.Context) error {
			<-answered // the response has left before the hooks ran
			tx, err := app.client.Tx(ctx)
			if err != nil {
				return err
			}
			if err := tx.Message.Create().SetValue("by a hook").Exec(ctx); err != nil {
				return err
			}
			return tx.Commit()
		})
		transaction.AfterCommit(c, func(ctx context.Context) error { done <- ctx.Err(); return nil })
		if err := save(c, "a"); err != nil {
			return err
		}
		return c.String(201, "stored")
	})
	if response, body := app.do(http.MethodPost, "/"); response.StatusCode != 201 || body != "stored" {
		t.Errorf("answered %d %q", response.StatusCode, body)
	}
	close(answered)
	if err := <-done; err != nil {
		t.Errorf("the hook's context has ended: %v", err)
	}
	if got := app.values(); got != "a by a hook" {
		t.Errorf("the database holds %q", got)
	}
	if !strings.Contains(log.String(), "the first fails") || !strings.Contains(log.String(), "the second panics") {
		t.Errorf("the log has %s", &log)
	}
}

// TestHookCannotWrite has hooks that write to the response when it has been sent, or dropped.
func TestHookCannotWrite(t *testing.T) {
	app := start(t)
	failed := make(chan error, 2)
	app.POST("/:end", func(c echo.Context) error {
		write := func(context.Context) error {
			c.Response().Writer.WriteHeader(http.StatusAccepted)
			n, err := io.WriteString(c.Response().Writer, "by a hook")
			if n != 0 || http.NewResponseController(c.Response().Writer).Flush() == nil {
				t.Error("the hook's write or flush succeeds")
			}
			failed <- err
			return nil
		}
		transaction.AfterCommit(c, write)
		transaction.AfterRollback(c, write)
		switch c.Param("end") {
		case "error":
			return echo.ErrTeapot
		case "nothing":
			return nil
		}
		return c.String(http.StatusCreated, "stored")
	})
	for path, want := range map[string]int{"/well": http.StatusCreated, "/error": http.StatusTeapot, "/nothing": http.StatusOK} {
		response, body := app.do(http.MethodPost, path)
		if response.StatusCode != want || strings.Contains(body, "by a hook") {
			t.Errorf("%s: answered %d %q", path, response.StatusCode, body)
		}
		if err := <-failed; err == nil {
			t.Errorf("%s: the hook's write succeeds", path)
		}
	}
}

// TestLostTransactionIsNeverAnswered200 has hooks, for which the response is flushed, and handlers that wrote 200 before
// their transaction is lost.
func TestLostTransactionIsNeverAnswered200(t *testing.T) {
	for name, end := range map[string]func(c echo.Context, faults *faults) error{
		"an error":   func(echo.Context, *faults) error { return errTest },
		"a panic":    func(echo.Context, *faults) error { panic(errTest) },
		"COMMIT":     func(_ echo.Context, faults *faults) error { faults.fail(commit, 1, errTest); return nil },
		"a deadline": func(c echo.Context, _ *faults) error { <-c.Request().Context().Done(); return nil },
		"a response too large": func(c echo.Context, _ *faults) error {
			_, _ = c.Response().Write(make([]byte, 2<<20))
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			faults := &faults{}
			app := open(t, faults.openDatabase)
			app.Use(middleware.RecoverWithConfig(middleware.RecoverConfig{DisablePrintStack: true}))
			if name == "a deadline" {
				app.Use(middleware.ContextTimeout(50 * time.Millisecond))
			}
			app.Use(transaction.Middleware(app.begin))
			app.POST("/", func(c echo.Context) error {
				transaction.AfterRollback(c, func(context.Context) error { return nil })
				err := transaction.Savepoint(c, func(*ent.Client) error {
					transaction.AfterRollback(c, func(context.Context) error { return nil })
					return errTest
				})
				if !errors.Is(err, errTest) {
					return err
				}
				if err := save(c, "a"); err != nil {
					return err
				}
				if err := c.String(http.StatusOK, "stored"); err != nil {
					return err
				}
				return end(c, faults)
			})
			response, body := app.do(http.MethodPost, "/")
			if response.StatusCode < 500 || strings.Contains(body, "stored") {
				t.Errorf("answered %d %.60q", response.StatusCode, body)
			}
			if got := app.values(); got != "" {
				t.Errorf("the database holds %q", got)
			}
		})
	}
}

func TestHooksOfARepeatedAttempt(t *testing.T) {
	app := start(t, retry)
	attempts, ran := 0, make(chan int, 3)
	app.POST("/", func(c echo.Context) error {
		attempts++
		attempt := attempts
		transaction.AfterCommit(c, func(context.Context) error { ran <- attempt; return nil })
		transaction.AfterRollback(c, func(context.Context) error { ran <- -attempt; return nil })
		if attempt == 1 {
			return errRepeat
		}
		return save(c, "a")
	})
	app.do(http.MethodPost, "/")
	if got := <-ran; got != 2 || len(ran) != 0 {
		t.Errorf("the hook of attempt %d ran, and %d more", got, len(ran))
	}
}

func TestSavepoint(t *testing.T) {
	for name, database := range databases {
		t.Run(name, func(t *testing.T) {
			app := open(t, database)
			app.Use(middleware.Recover(), transaction.Middleware(app.begin))
			ran := make(chan string, 9)
			hook := func(name string) func(context.Context) error {
				return func(context.Context) error { ran <- name; return nil }
			}
			app.POST("/", func(c echo.Context) error {
				store := func(value string, end error) error {
					return transaction.Savepoint(c, func(client *ent.Client) error {
						transaction.AfterCommit(c, hook("commit "+value))
						transaction.AfterRollback(c, hook("rollback "+value))
						if err := client.Message.Create().SetValue(value).Exec(c.Request().Context()); err != nil {
							return err
						}
						return end
					})
				}
				if err := save(c, "outer"); err != nil {
					return err
				}
				if err := store("undone", errTest); err != errTest {
					t.Errorf("a savepoint's error: %v", err)
				}
				if err := store("kept", nil); err != nil {
					return err
				}
				if err := transaction.Savepoint(c, func(client *ent.Client) error {
					if err := store("inner kept", nil); err != nil {
						return err
					}
					if err := store("inner undone", errTest); !errors.Is(err, errTest) {
						t.Errorf("a nested savepoint's error: %v", err)
					}
					return nil
				}); err != nil {
					return err
				}
				return c.NoContent(204)
			})
			if response, body := app.do(http.MethodPost, "/"); response.StatusCode != 204 {
				t.Fatalf("answered %d %q", response.StatusCode, body)
			}
			if got := app.values(); got != "outer kept inner kept" {
				t.Errorf("the database holds %q", got)
			}
			for _, want := range []string{"rollback undone", "rollback inner undone", "commit kept", "commit inner kept"} {
				if got := <-ran; got != want {
					t.Errorf("hook %q ran, want %q", got, want)
				}
			}
			if len(ran) != 0 {
				t.Errorf("one hook too many: %s", <-ran)
			}
		})
	}
}

// TestSavepointOfABuilderThatFailsHalfway stores several at once, of which the last is refused by the database.
func TestSavepointOfABuilderThatFailsHalfway(t *testing.T) {
	app := start(t)
	if err := app.driver.Exec(t.Context(), "CREATE UNIQUE INDEX once ON messages (value)", []any{}, nil); err != nil {
		t.Fatal(err)
	}
	app.POST("/", func(c echo.Context) error {
		if err := save(c, "taken"); err != nil {
			return err
		}
		err := transaction.Savepoint(c, func(client *ent.Client) error {
			for _, value := range []string{"first", "second", "taken"} {
				if err := client.Message.Create().SetValue(value).Exec(c.Request().Context()); err != nil {
					return err
				}
			}
			return nil
		})
		if !ent.IsConstraintError(err) {
			t.Errorf("the builder's error: %v", err)
		}
		return save(c, "after")
	})
	app.do(http.MethodPost, "/")
	if got := app.values(); got != "taken after" {
		t.Errorf("the database holds %q", got)
	}
}

// TestSavepointThatPanics has a handler recover, and go on.
func TestSavepointThatPanics(t *testing.T) {
	app := start(t)
	app.POST("/", func(c echo.Context) error {
		func() {
			defer func() { _ = recover() }()
			_ = transaction.Savepoint(c, func(client *ent.Client) error {
				if err := save(c, "undone"); err != nil {
					t.Error(err)
				}
				panic(errTest)
			})
		}()
		return save(c, "kept")
	})
	app.do(http.MethodPost, "/")
	if got := app.values(); got != "kept" {
		t.Errorf("the database holds %q", got)
	}
}

// TestSavepointThatCannotBeUndone loses the whole transaction, even if the handler ignores the error.
func TestSavepointThatCannotBeUndone(t *testing.T) {
	faults := &faults{nested: true} // so that only ROLLBACK TO fails
	app := open(t, faults.openDatabase)
	app.Use(transaction.Middleware(app.begin))
	app.POST("/", func(c echo.Context) error {
		if err := save(c, "outer"); err != nil {
			return err
		}
		faults.fail(rollback, 1, errRollback)
		err := transaction.Savepoint(c, func(*ent.Client) error { return errTest })
		if !errors.Is(err, errTest) || !errors.Is(err, errRollback) {
			t.Errorf("the savepoint's error: %v", err)
		}
		return c.String(201, "stored")
	})
	if response, body := app.do(http.MethodPost, "/"); response.StatusCode != 500 {
		t.Errorf("answered %d %q", response.StatusCode, body)
	}
	if got := app.values(); got != "" {
		t.Errorf("the database holds %q", got)
	}
	app.nothingInUse()
}

// TestSavepointWhoseStatementFails has SAVEPOINT or RELEASE fail: nothing is done in it, and the request may continue.
func TestSavepointWhoseStatementFails(t *testing.T) {
	for name, failing := range map[string]call{"SAVEPOINT": begin, "RELEASE": commit} {
		t.Run(name, func(t *testing.T) {
			faults := &faults{nested: true}
			app := open(t, faults.openDatabase)
			app.Use(transaction.Middleware(app.begin))
			app.POST("/", func(c echo.Context) error {
				if err := save(c, "before"); err != nil {
					return err
				}
				faults.fail(failing, 1, errRepeat)
				err := transaction.Savepoint(c, func(*ent.Client) error {
					if failing == begin {
						t.Error("the function runs")
					}
					return save(c, "undone")
				})
				if !errors.Is(err, errRepeat) || !strings.Contains(err.Error(), name) {
					t.Errorf("the savepoint's error: %v", err)
				}
				return save(c, "after")
			})
			if response, body := app.do(http.MethodPost, "/"); response.StatusCode != 200 || app.values() != "before after" {
				t.Errorf("answered %d %q, the database holds %q", response.StatusCode, body, app.values())
			}
		})
	}
}

// TestSavepointIsReleased looks for the savepoint after its end, by its name.
func TestSavepointIsReleased(t *testing.T) {
	for name, end := range map[string]error{"kept": nil, "undone": errTest} {
		t.Run(name, func(t *testing.T) {
			app := start(t)
			app.POST("/", func(c echo.Context) error {
				if err := transaction.Savepoint(c, func(*ent.Client) error { return end }); err != end {
					t.Errorf("the savepoint's error: %v", err)
				}
				_, err := transaction.Client[*ent.Client](c).ExecContext(c.Request().Context(), "RELEASE SAVEPOINT savepoint_1")
				if err == nil {
					t.Error("the savepoint is still there")
				}
				return nil
			})
			app.do(http.MethodPost, "/")
		})
	}
}

// plainTx is a transaction whose client cannot execute statements, as ent generates it without the feature sql/execquery.
type plainTx struct{ *ent.Tx }

func (plainTx) Client() struct{} { return struct{}{} }

func TestSavepointNeedsAFeatureOfTheClient(t *testing.T) {
	app := open(t, openDatabase)
	var seen error
	app.HTTPErrorHandler = func(err error, c echo.Context) { seen = err; app.DefaultHTTPErrorHandler(err, c) }
	begin := func(ctx context.Context, options *sql.TxOptions) (plainTx, error) {
		tx, err := app.client.BeginTx(ctx, options)
		return plainTx{tx}, err
	}
	handler := func(c echo.Context) error {
		return transaction.Savepoint(c, func(struct{}) error {
			t.Error("the function runs")
			return nil
		})
	}
	app.POST("/savepoint", handler, transaction.Middleware(begin))
	app.POST("/nested", handler, transaction.Middleware(transaction.Nested(struct{}{})))
	for _, path := range []string{"/savepoint", "/nested", "/nested"} { // the second one finds its turn free
		seen = nil
		response, body := app.do(http.MethodPost, path)
		if response.StatusCode != 500 || seen == nil || !strings.Contains(seen.Error(), "sql/execquery") {
			t.Errorf("%s: answered %d %q after %v", path, response.StatusCode, body, seen)
		}
	}
	app.nothingInUse()
}
