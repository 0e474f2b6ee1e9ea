package transaction_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"entgo.io/ent/dialect"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"daybook/transaction"
)

// call is a call of the driver that can be made to fail.
type call int

const (
	begin call = iota
	statement
	commit
	rollback
)

// faults makes calls of a driver fail, and counts its open transactions.
type faults struct {
	mu     sync.Mutex
	call   call
	times  int
	after  int // calls that succeed before
	err    error
	nested bool // transactions are savepoints of one transaction
	open   int
}

// fail makes the next calls fail, the given number of times.
func (f *faults) fail(call call, times int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.call, f.times, f.after, f.err = call, times, 0, err
}

// due returns the error with which the call must fail.
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

// callOf returns what a statement does.
func (f *faults) callOf(query string) call {
	switch {
	case !f.nested:
		return statement
	case strings.HasPrefix(query, "SAVEPOINT"):
		return begin
	case strings.HasPrefix(query, "RELEASE"):
		return commit
	case strings.HasPrefix(query, "ROLLBACK TO"):
		return rollback
	}
	return statement
}

// count adds n to the number of open transactions, and returns it.
func (f *faults) count(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open += n
	return f.open
}

// openDatabase opens a database whose transactions have the faults.
func (f *faults) openDatabase(t *testing.T) dialect.Driver {
	return &faultyDriver{openDatabase(t), f}
}

type faultyDriver struct {
	dialect.Driver
	faults *faults
}

func (d *faultyDriver) Tx(ctx context.Context) (dialect.Tx, error) {
	return d.BeginTx(ctx, nil)
}

func (d *faultyDriver) BeginTx(ctx context.Context, options *sql.TxOptions) (dialect.Tx, error) {
	if err := d.faults.due(begin); err != nil {
		return nil, err
	}
	tx, err := d.Driver.(interface {
		BeginTx(context.Context, *sql.TxOptions) (dialect.Tx, error)
	}).BeginTx(ctx, options)
	if err != nil {
		return nil, err
	}
	d.faults.count(1)
	return &faultyTx{Tx: tx, faults: d.faults}, nil
}

type faultyTx struct {
	dialect.Tx
	faults *faults
	ended  bool
}

func (tx *faultyTx) Exec(ctx context.Context, query string, args, v any) error {
	if err := tx.faults.due(tx.faults.callOf(query)); err != nil {
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

// ExecContext is what ent's feature sql/execquery calls.
func (tx *faultyTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := tx.faults.due(tx.faults.callOf(query)); err != nil {
		return nil, err
	}
	return tx.Tx.(interface {
		ExecContext(context.Context, string, ...any) (sql.Result, error)
	}).ExecContext(ctx, query, args...)
}

// Commit fails as with a lost connection: what was done is gone or, with errUnknown, was kept.
func (tx *faultyTx) Commit() error {
	defer tx.end()
	switch err := tx.faults.due(commit); {
	case errors.Is(err, errUnknown):
		return errors.Join(err, tx.Tx.Commit())
	case err != nil:
		return errors.Join(err, tx.Tx.Rollback())
	}
	return tx.Tx.Commit()
}

func (tx *faultyTx) Rollback() error {
	defer tx.end()
	if err := tx.faults.due(rollback); err != nil {
		return errors.Join(err, tx.Tx.Rollback())
	}
	return tx.Tx.Rollback()
}

func (tx *faultyTx) end() {
	if !tx.ended {
		tx.ended = true
		tx.faults.count(-1)
	}
}

// TestFaults makes each call of the driver fail, and checks that nothing is stored or in use afterwards.
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
			app := open(t, faults.openDatabase)
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
			var log bytes.Buffer
			app.Use(middleware.Recover(), transaction.Middleware(app.begin, transaction.Log(slog.New(slog.NewTextHandler(&log, nil)))))
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
			app.server.Close()         // waits for the request's end
			if test.path == "/panic" { // of which the error handler sees only the panic
				want := `level=ERROR msg="transaction: rollback after a panic" error=`
				if !strings.Contains(log.String(), want) || !strings.Contains(log.String(), errRepeat.Error()) {
					t.Errorf("the log has %q, want %s with %v", &log, want, errRepeat)
				}
			} else if !errors.Is(seen, errRepeat) || test.path == "/error" && !errors.Is(seen, errTest) {
				t.Errorf("the error handler saw %v", seen)
			} else if test.call == rollback && !strings.Contains(seen.Error(), "roll back transaction: ") {
				t.Errorf("the error handler saw %v, which does not say what failed", seen)
			}
			if got := app.values(); got != "" {
				t.Errorf("the database holds %q", got)
			}
			app.nothingInUse()
		})
	}
}
