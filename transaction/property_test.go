package transaction_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"daybook/database"
	"daybook/database/databasetest"
	"daybook/ent"
	"daybook/ent/message"
	"daybook/transaction"
)

// step is one thing that a handler does. A program is a list of them.
type step struct {
	op      op
	name    string // of what is stored, and of hooks
	steps   []step // of a savepoint
	swallow bool   // how the savepoint ends
}

type op int

const (
	insert op = iota
	hook
	savepoint
	doom
	refuse
	fail
	panics
)

// randomProgram returns a program of a few steps. Most end well.
func randomProgram(r *rand.Rand, depth int) []step {
	var steps []step
	for range r.IntN(5) {
		s := step{name: fmt.Sprint(r.Uint32()), swallow: r.IntN(2) == 0}
		switch n := r.IntN(40); {
		case n < 18:
			s.op = insert
		case n < 24:
			s.op = hook
		case n < 36:
			if depth == 3 {
				continue
			}
			s.op, s.steps = savepoint, randomProgram(r, depth+1)
		case n == 36:
			s.op = doom
		case n == 37:
			s.op = refuse
		case n == 38:
			s.op = fail
		default:
			s.op = panics
		}
		steps = append(steps, s)
	}
	return steps
}

// handle is the program as a handler.
func handle(c echo.Context, steps []step, ran *[]string) error {
	for _, s := range steps {
		if err := do(c, s, ran); err != nil {
			return err
		}
	}
	return nil
}

func do(c echo.Context, s step, ran *[]string) (err error) {
	switch s.op {
	case insert:
		return save(c, s.name)
	case hook:
		note := func(what string) func(context.Context) error {
			return func(context.Context) error { *ran = append(*ran, what+s.name); return nil }
		}
		transaction.AfterCommit(c, note("commit "))
		transaction.AfterRollback(c, note("rollback "))
	case savepoint:
		if s.swallow {
			defer func() { _, err = recover(), nil }()
		}
		return transaction.Savepoint(c, func(*ent.Client) error { return handle(c, s.steps, ran) })
	case doom:
		transaction.Doom(c)
	case refuse:
		return c.NoContent(http.StatusConflict)
	case fail:
		return errTest
	case panics:
		panic(errTest)
	}
	return nil
}

// model is what a program must leave.
type model struct {
	values, commit, rollback, undone []string
	lost                             bool
}

// run runs the program as it should be, and reports whether it ends well.
func (m *model) run(steps []step) bool {
	for _, s := range steps {
		switch s.op {
		case insert:
			m.values = append(m.values, s.name)
		case hook:
			m.commit = append(m.commit, "commit "+s.name)
			m.rollback = append(m.rollback, "rollback "+s.name)
		case savepoint:
			before := *m
			if m.run(s.steps) {
				continue
			}
			m.undone = append(m.undone, m.rollback[len(before.rollback):]...)
			m.values, m.commit, m.rollback = before.values, before.commit, before.rollback
			if !s.swallow {
				return false
			}
		case doom, refuse:
			m.lost = true
		case fail, panics:
			return false
		}
	}
	return true
}

// outcome returns what is stored and which hooks run.
func (m *model) outcome(well bool) (values, hooks []string) {
	if well && !m.lost {
		return m.values, append(m.undone, m.commit...)
	}
	return nil, append(m.undone, m.rollback...)
}

// TestRandomPrograms runs random programs, and compares what they leave with what the model says.
func TestRandomPrograms(t *testing.T) {
	for name, opened := range databases {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			r := rand.New(rand.NewPCG(seed, 0))
			app := open(t, opened)
			app.Use(middleware.RecoverWithConfig(middleware.RecoverConfig{DisablePrintStack: true}), transaction.Middleware(app.begin))
			var program []step
			var ran []string
			app.POST("/", func(c echo.Context) error { return handle(c, program, &ran) })
			last := 0
			programs := 10_000
			if databasetest.Postgres() { // on which each takes longer
				programs = 2000
			}
			for i := range programs {
				program, ran = randomProgram(r, 0), nil
				app.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil))
				var got []string
				got, last = app.valuesAfter(last)
				m := &model{}
				values, hooks := m.outcome(m.run(program))
				if !slices.Equal(got, values) || !slices.Equal(ran, hooks) {
					t.Fatalf("program %d of seed %d: %+v\nstored %v, want %v\nhooks %v, want %v", i, seed, program, got, values, ran, hooks)
				}
			}
			app.nothingInUse()
		})
	}
}

// TestRandomProgramsAtOnce has 32 clients run random programs concurrently, which share commits.
func TestRandomProgramsAtOnce(t *testing.T) {
	app := open(t, openDatabase)
	app.Use(middleware.RecoverWithConfig(middleware.RecoverConfig{DisablePrintStack: true}),
		transaction.Middleware(app.begin, transaction.Retry(database.IsRepeatable)))
	type run struct {
		program []step
		ran     []string
	}
	type runKey struct{}
	app.POST("/", func(c echo.Context) error {
		r := c.Request().Context().Value(runKey{}).(*run)
		return handle(c, r.program, &r.ran)
	})
	var mu sync.Mutex
	var want []string
	var clients sync.WaitGroup
	for client := range 32 {
		clients.Go(func() {
			seed := rand.Uint64()
			r := rand.New(rand.NewPCG(seed, 0))
			for i := range 300 {
				run := &run{program: randomProgram(r, 0)}
				request := httptest.NewRequest(http.MethodPost, "/", nil)
				app.ServeHTTP(httptest.NewRecorder(), request.WithContext(context.WithValue(t.Context(), runKey{}, run)))
				m := &model{}
				values, hooks := m.outcome(m.run(run.program))
				if !slices.Equal(run.ran, hooks) {
					t.Errorf("client %d, program %d of seed %d: hooks %v, want %v", client, i, seed, run.ran, hooks)
				}
				mu.Lock()
				want = append(want, values...)
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	got, _ := app.valuesAfter(0)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d values are stored, want %d", len(got), len(want))
	}
	app.nothingInUse()
}

// valuesAfter returns what was stored after the message last, and which is the last now.
func (a *application) valuesAfter(last int) ([]string, int) {
	a.t.Helper()
	messages, err := a.client.Message.Query().Where(message.IDGT(last)).Order(ent.Asc(message.FieldID)).All(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	var values []string
	for _, m := range messages {
		values = append(values, m.Value)
		last = m.ID
	}
	return values, last
}
