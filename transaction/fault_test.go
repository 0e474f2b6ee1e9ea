package transaction_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"sync"
	"testing"

	"entgo.io/ent/dialect"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"daybook/transaction"
)

// call is a call of the driver's that can be made to fail.
type call int

const (
	begin call = iota
	statement
	commit
	rollback
)

// faults makes calls of a driver fail.
type faults struct {
	mu    sync.Mutex
	call  call
	times int
	after int // calls that still go well
	err   error
}

// fail makes the next calls fail, the given number of times.
func (f *faults) fail(call call, times int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.call, f.times, f.after, f.err = call, times, 0, err
}

// due returns the error with which the call is to fail.
func (f *faults) due(call call) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.call != call || f.times == 0 {
		return nil
	}
	if f.after > 0 {
		f.after--
		return nil
	}
	f.times--
	return f.err
}

// open opens a database whose transactions have the faults.
func (f *faults) open(t *testing.T) dialect.Driver {
	return &faultyDriver{openDatabase(t), f}
}

type faultyDriver struct {
	dialect.Driver
	faults *faults
}

func (d *faultyDriver) BeginTx(ctx context.Context, options *sql.TxOptions) (dialect.Tx, error) {
	if err := d.faults.due(begin); err != nil {
		return nil, err
	}
	tx, err := d.Driver.(interface {
		BeginTx(context.Context, *sql.TxOptions) (dialect.Tx, error)
	}).BeginTx(ctx, options)
	return &faultyTx{tx, d.faults}, err
}

type faultyTx struct {
	dialect.Tx
	faults *faults
}

func (tx *faultyTx) Exec(ctx context.Context, query string, args, v any) error {
	if err := tx.faults.due(statement); err != nil {
		return err
	}
	return tx.Tx.Exec(ctx, query, args, v)
}

func (tx *faultyTx) Query(ctx context.Context, query string, args, v any) error {
	if err := tx.faults.due(statement); err != nil {
		return err
	}
	return tx.Tx.Query(ctx, query, args, v)
}

// Commit fails as a lost connection does: what was done is gone.
func (tx *faultyTx) Commit() error {
	if err := tx.faults.due(commit); err != nil {
		return errors.Join(err, tx.Tx.Rollback())
	}
	return tx.Tx.Commit()
}

func (tx *faultyTx) Rollback() error {
	if err := tx.faults.due(rollback); err != nil {
		return errors.Join(err, tx.Tx.Rollback())
	}
	return tx.Tx.Rollback()
}

// TestFaults fails each call of the driver's, and then sees that nothing is stored or in use.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name   string
		call   call
		after  int
		path   string
		status int
	}{
		{"begin", begin, 0, "/well", http.StatusTeapot},
		{"the first statement", statement, 0, "/well", http.StatusTeapot},
		{"the second statement", statement, 1, "/well", http.StatusTeapot},
		{"COMMIT", commit, 0, "/well", http.StatusTeapot},
		{"ROLLBACK after an error", rollback, 0, "/error", http.StatusTeapot},
		{"ROLLBACK after a refusal", rollback, 0, "/refusal", http.StatusTeapot},
		{"ROLLBACK after a panic", rollback, 0, "/panic", http.StatusTeapot},
	} {
		t.Run(test.name, func(t *testing.T) {
			faults := &faults{}
			app := open(t, faults.open)
			var seen error
			app.HTTPErrorHandler = func(err error, c echo.Context) {
				seen = err
				if c.Response().Committed {
					return
				}
				if err := c.String(http.StatusTeapot, "failed"); err != nil {
					t.Error(err)
				}
			}
			app.Use(middleware.Recover(), transaction.Middleware(app.begin))
			app.POST("/:end", func(c echo.Context) error {
				for range 2 {
					if err := save(c, "a"); err != nil {
						return err
					}
				}
				switch c.Param("end") {
				case "error":
					return errTest
				case "refusal":
					return c.String(http.StatusConflict, "refused")
				case "panic":
					panic(errTest)
				}
				return c.String(http.StatusCreated, "stored")
			})
			faults.fail(test.call, 1, errRepeat)
			faults.after = test.after
			response, body := app.do(http.MethodPost, test.path)
			if response.StatusCode != test.status {
				t.Errorf("answered %d %q", response.StatusCode, body)
			}
			if test.path != "/panic" && !errors.Is(seen, errRepeat) {
				t.Errorf("the error handler saw %v", seen)
			}
			if got := app.values(); got != "" {
				t.Errorf("the database holds %q", got)
			}
			app.nothingInUse()
		})
	}
}
