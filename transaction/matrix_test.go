package transaction_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"daybook/ent"
	"daybook/transaction"
)

// table is the table of outcomes. It is what the package comment says, and what TestMatrix expects.
const table = `
	the request ended with                        the transaction is   the client gets               hooks that run
	no response                                   committed            an empty 200                  AfterCommit
	a response with a status below 400            committed            the response                  AfterCommit
	a response with a status of 400 or more       rolled back          the response                  AfterRollback
	an error                                      rolled back          the error handler's answer    AfterRollback
	Keep true, a status of 400 or more            committed            the response                  AfterCommit
	Keep true, an error                           committed            the error handler's answer    AfterCommit
	Keep false, no error                          rolled back          the response                  AfterRollback
	Doom, no error                                rolled back          the response                  AfterRollback
	a deadline that has passed                    rolled back          503 from the error handler    AfterRollback
	a client that hung up                         rolled back          the error handler's answer    AfterRollback
	a response too large to be held               rolled back          the error handler's answer    AfterRollback
	a transaction that could not begin            not begun            the error handler's answer    AfterRollback
	a COMMIT that failed                          not committed        the error handler's answer    AfterRollback
	a ROLLBACK that failed                        not committed        the error handler's answer    AfterRollback
	a lost transaction, Retry or Unavailable      not committed        503 from the error handler    AfterRollback
	a COMMIT without an answer, Unknown           not known            the error handler's answer    none
	a panic, which goes on                        rolled back          what Recover makes of it      AfterRollback
	a failure after a part was sent               rolled back          a connection that is closed   AfterRollback
`

// row is a row of the table.
type row struct{ ended, transaction, answer, hooks string }

// rows returns the rows of a table whose columns are at least two spaces apart.
func rows(table string) (rows []row) {
	for line := range strings.Lines(table) {
		columns := regexp.MustCompile(" {2,}").Split(strings.TrimSpace(line), -1)
		if len(columns) == 4 {
			rows = append(rows, row{columns[0], columns[1], columns[2], columns[3]})
		}
	}
	return rows
}

func TestPackageCommentHasTheTable(t *testing.T) {
	source, err := os.ReadFile("transaction.go")
	if err != nil {
		t.Fatal(err)
	}
	comment, _, _ := strings.Cut(string(source), "\npackage transaction\n")
	got, want := rows(strings.ReplaceAll(comment, "//\t", "")), rows(table)
	if !slices.Equal(got, want) {
		t.Errorf("the package comment has the table\n%q\nwant\n%q", got, want)
	}
}

// outcome is a way in which a request can end. Before that, every handler sets a header and a cookie, writes a 200 or not, and
// uses the transaction.
type outcome struct {
	name       string
	row        string // of the table, if no feature changes it
	written    []bool // whether the handler wrote a 200 before
	end        func(*run, echo.Context) error
	fault      call // of the driver that fails with errRepeat
	faulty     int  // how often it fails
	unknown    bool // whether COMMIT keeps what was done, and fails with errUnknown
	status     int  // of the response, or of the error handler's answer
	body       string
	silent     bool // the error is not logged: the client hung up, or Recover logs it
	afterLarge bool // the handler wrote a response before that is too large to be held
}

const (
	internal = `{"message":"Internal Server Error"}`
	busy     = `{"message":"The database is busy. Please try again."}`
	late     = `{"message":"The request took too long. Please try again."}`
)

// large is longer than what is held of a response.
var large = strings.Repeat("x", 1<<20+1)

var (
	both      = []bool{false, true}
	only      = []bool{true}
	unwritten = []bool{false}
)

var errRollback = errors.New("the rollback failed")

var outcomes = []outcome{
	{name: "nothing written", row: "no response", written: unwritten, end: well, status: 200},
	{name: "200", row: "a response with a status below 400", written: only, end: well, status: 200, body: "own"},
	{name: "refusal", row: "a response with a status of 400 or more", written: unwritten, end: refusal, status: 409, body: "refused"},
	{name: "refusal and an error", row: "a response with a status of 400 or more", written: unwritten,
		end: func(r *run, c echo.Context) error { return errors.Join(refusal(r, c), errTest) }, status: 409, body: "refused"},
	{name: "error", row: "an error", written: both,
		end: func(*run, echo.Context) error { return errTest }, status: 500, body: internal},
	{name: "error with a status", row: "an error", written: both,
		end: func(*run, echo.Context) error { return echo.ErrTeapot }, status: 418, body: `{"message":"I'm a teapot"}`},
	{name: "panic", row: "a panic, which goes on", written: both,
		end: func(*run, echo.Context) error { panic(errTest) }, status: 500, body: internal, silent: true},
	{name: "hang-up", row: "a client that hung up", written: both,
		end: func(r *run, _ echo.Context) error { r.hangUp(); return nil }, status: 500, body: internal, silent: true},
	{name: "deadline outside", row: "a deadline that has passed", written: both,
		end: func(r *run, _ echo.Context) error { r.outside.pass(); return nil }, status: 503, body: late},
	{name: "deadline inside", row: "a deadline that has passed", written: both,
		end: func(r *run, _ echo.Context) error { r.inside.pass(); return nil }, status: 503, body: late},
	{name: "response too large", row: "a response too large to be held", written: only, afterLarge: true,
		end: well, status: 500, body: internal},
	{name: "refusal too large", row: "a response too large to be held", written: unwritten,
		end: func(_ *run, c echo.Context) error { _ = c.String(http.StatusConflict, large); return nil }, status: 500, body: internal},
	{name: "response too large and an error", row: "a response too large to be held", written: only, afterLarge: true,
		end: func(*run, echo.Context) error { return errTest }, status: 500, body: internal},
	{name: "response too large and a panic", row: "a panic, which goes on", written: only, afterLarge: true,
		end: func(*run, echo.Context) error { panic(errTest) }, status: 500, body: internal, silent: true},
	{name: "begin fails once", row: "a transaction that could not begin", written: both,
		end: well, fault: begin, faulty: 1, status: 500, body: internal},
	{name: "begin fails", row: "a transaction that could not begin", written: both,
		end: well, fault: begin, faulty: always, status: 500, body: internal},
	{name: "statement fails once", row: "an error", written: both,
		end: query, fault: statement, faulty: 1, status: 500, body: internal},
	{name: "statement fails", row: "an error", written: both,
		end: query, fault: statement, faulty: always, status: 500, body: internal},
	{name: "statement fails unnoticed", row: "a COMMIT that failed", written: both,
		end: unnoticed, status: 500, body: internal},
	{name: "COMMIT fails once", row: "a COMMIT that failed", written: both,
		end: well, fault: commit, faulty: 1, status: 500, body: internal},
	{name: "COMMIT fails", row: "a COMMIT that failed", written: both,
		end: well, fault: commit, faulty: always, status: 500, body: internal},
	{name: "COMMIT is not answered once", row: "a COMMIT without an answer, Unknown", written: both,
		end: well, fault: commit, faulty: 1, unknown: true, status: 500, body: internal},
	{name: "COMMIT is not answered", row: "a COMMIT without an answer, Unknown", written: both,
		end: well, fault: commit, faulty: always, unknown: true, status: 500, body: internal},
	{name: "ROLLBACK fails after an error", row: "a ROLLBACK that failed", written: both,
		end: func(r *run, _ echo.Context) error { r.faults.fail(rollback, 1, errRollback); return errTest }, status: 500, body: internal},
	{name: "ROLLBACK fails after an error with a status", row: "a ROLLBACK that failed", written: both,
		end: func(r *run, _ echo.Context) error { r.faults.fail(rollback, 1, errRollback); return echo.ErrTeapot }, status: 500, body: internal},
	{name: "ROLLBACK fails after a hang-up", row: "a ROLLBACK that failed", written: both,
		end: func(r *run, _ echo.Context) error { r.faults.fail(rollback, 1, errRollback); r.hangUp(); return nil }, status: 500, body: internal},
	{name: "ROLLBACK fails after a refusal", row: "a ROLLBACK that failed", written: unwritten,
		end: func(r *run, c echo.Context) error { r.faults.fail(rollback, 1, errRollback); return refusal(r, c) }, status: 500, body: internal},
}

// always is how often a call fails that every attempt makes.
const always = 9

func well(*run, echo.Context) error { return nil }

func refusal(_ *run, c echo.Context) error { return c.String(http.StatusConflict, "refused") }

// query makes the handler's last statement. If it is to fail once, that is in the first attempt.
func query(r *run, c echo.Context) error {
	if r.attempts == 1 || r.outcome.faulty == always {
		r.faults.fail(statement, 1, errRepeat)
	}
	_, err := transaction.Client[*ent.Client](c).Message.Query().Count(c.Request().Context())
	return err
}

// unnoticed has a statement fail, and goes on as if it had not.
func unnoticed(_ *run, c echo.Context) error {
	_, _ = transaction.Client[*ent.Client](c).ExecContext(c.Request().Context(), "INSERT INTO nothing VALUES (1)")
	return nil
}

// feature is a way to use the package.
type feature struct {
	name    string
	options []transaction.Option
	marks   []echo.MiddlewareFunc
	method  string // POST unless set
	begin   func(*run, beginTx) beginTx
	use     func(*run, echo.Context) error

	commit   []string // the hooks that run after a commit, in their order
	rollback []string // and after a rollback
	late     bool     // the hooks are registered after the transaction has begun
	stores   string   // what a committed request stores
}

type beginTx = func(context.Context, *sql.TxOptions) (transaction.Tx[*ent.Client], error)

var features = []feature{
	{name: "plain", use: store, stores: "row"},
	{name: "AfterCommit", use: func(r *run, c echo.Context) error {
		transaction.AfterCommit(c, r.hook("AfterCommit"))
		return store(r, c)
	}, commit: []string{"AfterCommit"}, stores: "row"},
	{name: "AfterRollback", use: func(r *run, c echo.Context) error {
		transaction.AfterRollback(c, r.hook("AfterRollback"))
		return store(r, c)
	}, rollback: []string{"AfterRollback"}, stores: "row"},
	{name: "OnCommit", use: withHooks(store), begin: onCommit,
		commit: []string{"OnCommit", "commit 1", "commit 2"}, rollback: twoRollbacks, stores: "row"},
	{name: "Savepoint kept", use: savepointKept,
		commit: twoCommits, rollback: twoRollbacks, late: true, stores: "row"},
	{name: "Savepoint undone", use: savepointUndone,
		commit: twoRollbacks, rollback: twoRollbacks, late: true, stores: "row"},
	{name: "Keep true", use: withHooks(store), options: []transaction.Option{keep(true)},
		commit: twoCommits, rollback: twoRollbacks, stores: "row"},
	{name: "Keep true with Retry", use: withHooks(store), options: []transaction.Option{keep(true), retry},
		commit: twoCommits, rollback: twoRollbacks, stores: "row"},
	{name: "Keep false", use: withHooks(store), options: []transaction.Option{keep(false)},
		commit: twoCommits, rollback: twoRollbacks, stores: "row"},
	{name: "Doom", use: withHooks(func(r *run, c echo.Context) error { transaction.Doom(c); return store(r, c) }),
		commit: twoCommits, rollback: twoRollbacks, stores: "row"},
	{name: "Retry", use: withHooks(store), options: []transaction.Option{retry},
		commit: twoCommits, rollback: twoRollbacks, stores: "row"},
	{name: "Unavailable", use: withHooks(store), options: []transaction.Option{unavailable},
		commit: twoCommits, rollback: twoRollbacks, stores: "row"},
	{name: "Unknown", use: withHooks(store), options: []transaction.Option{unknown, retry, unavailable},
		commit: twoCommits, rollback: twoRollbacks, stores: "row"},
	{name: "Unknown with Idempotent", use: withHooks(func(r *run, c echo.Context) error { transaction.Idempotent(c); return store(r, c) }),
		options: []transaction.Option{unknown, retry, unavailable}, commit: twoCommits, rollback: twoRollbacks, stores: "row"},
	{name: "Context", use: withHooks(storeByContext), options: []transaction.Option{transaction.Context(ent.NewContext)},
		commit: twoCommits, rollback: twoRollbacks, late: true, stores: "row"},
	{name: "Context with Write", use: withHooks(storeByContext), options: []transaction.Option{transaction.Context(ent.NewContext)},
		method: http.MethodGet, marks: []echo.MiddlewareFunc{transaction.Write}, // its transaction begins twice
		commit: twoCommits, rollback: twoRollbacks, late: true, stores: "row"},
	{name: "MaxHeld", use: withHooks(store), options: []transaction.Option{transaction.MaxHeld(10)},
		commit: twoCommits, rollback: twoRollbacks, stores: "row"},
	{name: "Nested", use: withHooks(store), begin: nested,
		commit: twoCommits, rollback: twoRollbacks, stores: "row"},
	{name: "Read", use: withHooks(read), marks: []echo.MiddlewareFunc{transaction.Read},
		commit: twoCommits, rollback: twoRollbacks},
	{name: "GET", use: withHooks(read), method: http.MethodGet,
		commit: twoCommits, rollback: twoRollbacks},
	{name: "Write", use: withHooks(store), method: http.MethodGet, marks: []echo.MiddlewareFunc{transaction.Write},
		commit: twoCommits, rollback: twoRollbacks, stores: "row"},
	{name: "None", use: withHooks(storeOutside), marks: []echo.MiddlewareFunc{transaction.None},
		commit: twoCommits, rollback: twoRollbacks, stores: "row"},
	{name: "Isolation", use: withHooks(store), marks: []echo.MiddlewareFunc{transaction.Isolation(sql.LevelSerializable)},
		commit: twoCommits, rollback: twoRollbacks, stores: "row"},
}

var (
	twoCommits   = []string{"commit 1", "commit 2"}
	twoRollbacks = []string{"rollback 1", "rollback 2"}
)

var unavailable = transaction.Unavailable(func(err error) bool { return errors.Is(err, errRepeat) })

// unknown is what makes errUnknown unknown. To Retry and Unavailable, it is an error like another.
var unknown = transaction.Unknown(func(err error) bool { return errors.Is(err, errUnknown) })

var errUnknown = fmt.Errorf("the answer is lost: %w", errRepeat)

func store(_ *run, c echo.Context) error { return save(c, "row") }

func storeByContext(_ *run, c echo.Context) error {
	ctx := c.Request().Context()
	return ent.FromContext(ctx).Message.Create().SetValue("row").Exec(ctx)
}

func storeOutside(r *run, c echo.Context) error {
	return r.app.client.Message.Create().SetValue("row").Exec(c.Request().Context())
}

func read(_ *run, c echo.Context) error {
	_, err := transaction.Client[*ent.Client](c).Message.Query().Count(c.Request().Context())
	return err
}

func savepointKept(r *run, c echo.Context) error {
	return transaction.Savepoint(c, func(*ent.Client) error { return withHooks(store)(r, c) })
}

func savepointUndone(r *run, c echo.Context) error {
	if err := store(r, c); err != nil {
		return err
	}
	err := transaction.Savepoint(c, func(*ent.Client) error {
		return errors.Join(withHooks(store)(r, c), errTest)
	})
	if !errors.Is(err, errTest) {
		return fmt.Errorf("the savepoint's error: %w", err)
	}
	return nil
}

// withHooks registers hooks of both kinds before it calls use.
func withHooks(use func(*run, echo.Context) error) func(*run, echo.Context) error {
	return func(r *run, c echo.Context) error {
		for i := range 2 {
			transaction.AfterRollback(c, r.hook(twoRollbacks[i]))
			transaction.AfterCommit(c, r.hook(twoCommits[i]))
		}
		return use(r, c)
	}
}

func keep(answer bool) transaction.Option {
	return transaction.Keep(func(echo.Context, int, error) bool { return answer })
}

// onCommit adds a hook of ent's that runs the next committer first.
func onCommit(r *run, begin beginTx) beginTx {
	return func(ctx context.Context, options *sql.TxOptions) (transaction.Tx[*ent.Client], error) {
		tx, err := begin(ctx, options)
		if err != nil {
			return nil, err
		}
		tx.(*ent.Tx).OnCommit(func(next ent.Committer) ent.Committer {
			return ent.CommitFunc(func(ctx context.Context, tx *ent.Tx) error {
				if err := next.Commit(ctx, tx); err != nil {
					return err
				}
				return r.hook("OnCommit")(ctx)
			})
		})
		return tx, nil
	}
}

// nested begins savepoints of one transaction. Its rollback is not made to fail: it is a statement of that transaction.
func nested(r *run, _ beginTx) beginTx {
	return func(ctx context.Context, options *sql.TxOptions) (transaction.Tx[*ent.Client], error) {
		return r.nested(ctx, options)
	}
}

// impossible reports whether the feature has no such outcome.
func (f feature) impossible(o outcome) bool {
	commits, rollsBack := o.row == "a COMMIT that failed", o.row == "a ROLLBACK that failed"
	if o.unknown && !strings.HasPrefix(f.name, "Unknown") {
		return true // without the option it is another COMMIT that failed
	}
	switch f.name {
	case "None": // has no transaction that could fail
		return o.faulty > 0 || commits || rollsBack
	case "Doom", "Keep false": // never commit
		return commits
	case "Keep true", "Keep true with Retry", "Nested": // commit, or roll back by a statement
		return rollsBack
	}
	return false
}

// expectation is what a request must leave.
type expectation struct {
	row      row
	attempts int
	status   int
	body     string
	closed   bool // the connection
	header   bool // the handler's header and cookie are sent
	stored   string
	hooks    []string
	report   transaction.Outcome
	failure  bool // is logged
}

// expect is the model. It returns what the table says about the outcome with the feature.
func expect(f feature, o outcome, written bool) expectation {
	name, attempts := rowOf(f, o, written)
	i := slices.IndexFunc(rows(table), func(r row) bool { return r.ended == name })
	row := rows(table)[i]
	committed := row.transaction == "committed"
	want := expectation{row: row, attempts: attempts, report: transaction.RolledBack, hooks: f.rollback}
	if committed {
		want.report, want.hooks = transaction.Committed, f.commit
	}
	if want.row.ended == "a COMMIT that failed" || o.fault == commit && o.faulty > 0 && !committed {
		want.report = transaction.CommitFailed
	}
	if o.fault == begin && o.faulty > 0 && !committed && f.late {
		want.hooks = nil
	}
	if committed || f.name == "None" {
		want.stored = f.stores
	}
	if o.unknown { // each attempt is committed
		want.stored = strings.Join(slices.Repeat([]string{f.stores}, attempts), " ")
	}
	if row.transaction == "not known" {
		want.report, want.hooks = transaction.CommitUnknown, nil
	}
	want.answer(f, o, written)
	return want
}

// answer completes what the client gets.
func (want *expectation) answer(f feature, o outcome, written bool) {
	own := expectation{status: 200}
	switch {
	case o.name == "refusal too large":
		own.status, own.body = 409, large
	case o.row == "a response with a status of 400 or more":
		own.status, own.body = o.status, o.body
	case written:
		own.body = "own"
	}
	if o.afterLarge {
		own.body += large
	}
	lost := want.row.transaction != "committed" && f.name != "None"
	switch want.row.answer {
	case "the response", "an empty 200":
		want.status, want.body, want.header = own.status, own.body, true
	case "the error handler's answer", "what Recover makes of it":
		want.status, want.body, want.header = o.status, o.body, !lost && !written
		want.failure = !o.silent && o.status >= 500
	case "503 from the error handler":
		want.status, want.body, want.header = 503, busy, !lost && !written
		if o.body == late {
			want.body = late
		}
		want.failure = true
	case "a connection that is closed":
		want.closed, want.failure = true, !o.silent
	}
}

// rowOf returns the name of the row that applies, and how many attempts there are.
func rowOf(f feature, o outcome, written bool) (name string, attempts int) {
	well := "no response"
	if written {
		well = "a response with a status below 400"
	}
	succeeds := o.row == "no response" || o.row == "a response with a status below 400"
	isError, isRefusal := o.row == "an error", o.row == "a response with a status of 400 or more"
	keeps := strings.HasPrefix(f.name, "Keep true")
	switch streams := f.name == "None" || f.name == "Read" || f.name == "GET"; {
	case streams && o.name == "response too large":
		return well, 1
	case streams && o.name == "refusal too large":
		return "a response with a status of 400 or more", 1
	case streams && o.afterLarge, f.name == "None" && written && !succeeds:
		return "a failure after a part was sent", 1
	case f.name == "Doom" && succeeds:
		return "Doom, no error", 1
	case f.name == "Keep false" && (succeeds || o.name == "refusal"):
		return "Keep false, no error", 1
	case keeps && isRefusal:
		return "Keep true, a status of 400 or more", 1
	case keeps && isError:
		return "Keep true, an error", 1
	case f.name == "Unknown" && o.unknown:
		return o.row, 1
	case o.unknown && o.faulty == always:
		return o.row, 3
	case o.unknown:
		return well, 2
	case strings.HasPrefix(f.name, "Unknown") && o.faulty == 1:
		return well, 2
	case strings.HasPrefix(f.name, "Unknown") && o.faulty == always:
		return "a lost transaction, Retry or Unavailable", 3
	case f.name == "Unavailable" && o.faulty > 0:
		return "a lost transaction, Retry or Unavailable", 1
	case strings.HasSuffix(f.name, "Retry") && o.faulty == 1:
		return well, 2
	case strings.HasSuffix(f.name, "Retry") && o.faulty == always:
		return "a lost transaction, Retry or Unavailable", 3
	}
	return o.row, 1
}

// run is one request of the matrix, and what it did.
type run struct {
	app     *application
	faults  *faults
	nested  func(context.Context, *sql.TxOptions) (transaction.Tx[*ent.Client], error)
	feature feature
	outcome outcome
	written bool

	hangUp          context.CancelFunc
	outside, inside *deadline
	attempts        int
	hooks           []string
	reports         []transaction.Report
	failures        []string // what was logged at error level
}

func (r *run) hook(name string) func(context.Context) error {
	return func(ctx context.Context) error {
		r.hooks = append(r.hooks, name)
		r.live(ctx)
		return nil
	}
}

// live checks the context of what runs after the request, also after a hang-up and a deadline.
func (r *run) live(ctx context.Context) {
	if err := ctx.Err(); err != nil {
		r.app.t.Errorf("%s: a hook, the observer or the log has a context that has ended: %v", r.outcome.name, err)
	}
}

// handle is the handler of all requests.
func (r *run) handle(c echo.Context) error {
	r.attempts++
	c.SetCookie(&http.Cookie{Name: "session", Value: "1"})
	c.Response().Header().Set("X-Test", "set")
	if r.written {
		if err := c.String(http.StatusOK, "own"); err != nil {
			return err
		}
	}
	if err := r.feature.use(r, c); err != nil {
		return err
	}
	if r.outcome.afterLarge {
		_, _ = io.WriteString(c.Response(), large)
	}
	return r.outcome.end(r, c)
}

// deadline is a context whose deadline passes when the test says so.
type deadline struct {
	context.Context
	passed chan struct{}
}

func (d *deadline) Done() <-chan struct{} { return d.passed }
func (d *deadline) pass()                 { close(d.passed) }

func (d *deadline) Err() error {
	select {
	case <-d.passed:
		return context.DeadlineExceeded
	default:
		return d.Context.Err()
	}
}

// limit is a middleware that gives requests a deadline.
func limit(put func(*deadline)) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			d := &deadline{c.Request().Context(), make(chan struct{})}
			put(d)
			c.SetRequest(c.Request().WithContext(d))
			return next(c)
		}
	}
}

// failureLog is a slog.Handler for errors only.
type failureLog func(ctx context.Context, message string)

func (failureLog) Enabled(_ context.Context, level slog.Level) bool  { return level >= slog.LevelError }
func (f failureLog) Handle(ctx context.Context, r slog.Record) error { f(ctx, r.Message); return nil }
func (f failureLog) WithAttrs([]slog.Attr) slog.Handler              { return f }
func (f failureLog) WithGroup(string) slog.Handler                   { return f }

// serve starts an application with the feature. Each request belongs to the current run.
func (f feature) serve(t *testing.T, faults *faults, current func() *run) *application {
	app := open(t, faults.openDatabase)
	begin := func(ctx context.Context, options *sql.TxOptions) (transaction.Tx[*ent.Client], error) {
		start := beginTx(func(ctx context.Context, options *sql.TxOptions) (transaction.Tx[*ent.Client], error) {
			return app.client.BeginTx(ctx, options)
		})
		if f.begin != nil {
			start = f.begin(current(), start)
		}
		return start(ctx, options)
	}
	options := append([]transaction.Option{
		transaction.Observe(func(ctx context.Context, r transaction.Report) {
			current().reports = append(current().reports, r)
			current().live(ctx)
		}),
		transaction.Log(slog.New(failureLog(func(ctx context.Context, message string) {
			current().failures = append(current().failures, message)
			current().live(ctx)
		}))),
	}, f.options...)
	app.Use(
		middleware.RecoverWithConfig(middleware.RecoverConfig{DisablePrintStack: true}),
		middleware.ContextTimeout(time.Hour), // gives errors of a deadline a status of its own
		limit(func(d *deadline) { current().outside = d }),
		transaction.Middleware(begin, options...),
		limit(func(d *deadline) { current().inside = d }),
	)
	app.Any("/", func(c echo.Context) error { return current().handle(c) }, f.marks...)
	return app
}

// TestMatrix makes requests of every feature end in every way, and compares what they leave with the model.
func TestMatrix(t *testing.T) {
	used := map[string]bool{}
	for _, f := range features {
		t.Run(f.name, func(t *testing.T) { f.test(t, used) })
	}
	for _, row := range rows(table)[1:] {
		if !used[row.ended] {
			t.Errorf("no request ended with %s", row.ended)
		}
	}
}

// test makes the requests of one feature, and adds the rows of the table that they used.
func (f feature) test(t *testing.T, used map[string]bool) {
	var r *run
	faults := &faults{}
	app := f.serve(t, faults, func() *run { return r })
	outside := app.client
	if f.name == "Nested" {
		outer, err := app.client.Tx(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer outer.Rollback()
		outside, faults.nested = outer.Client(), true
	}
	begin, open := transaction.Nested(outside), faults.count(0)
	for _, o := range outcomes {
		for _, written := range o.written {
			if f.impossible(o) {
				continue
			}
			want := expect(f, o, written)
			used[want.row.ended] = true
			r = &run{app: app, faults: faults, nested: begin, feature: f, outcome: o, written: written}
			t.Run(fmt.Sprint(o.name, " written ", written), func(t *testing.T) {
				r.check(t, want)
				if n := faults.count(0) - open; n != 0 {
					t.Errorf("%d transactions are still open", n)
				}
				if got := takeValues(t, outside); got != want.stored {
					t.Errorf("the database holds %q, want %q", got, want.stored)
				}
			})
		}
	}
	if f.name != "Nested" {
		app.nothingInUse()
	}
}

// check makes the request, and compares everything but the database.
func (r *run) check(t *testing.T, want expectation) {
	recorder, closed := r.request(t)
	if closed != want.closed {
		t.Errorf("the connection was closed: %t, want %t", closed, want.closed)
	}
	if !closed {
		want.compareAnswer(t, recorder.Result())
	}
	if !slices.Equal(r.hooks, want.hooks) {
		t.Errorf("hooks %q, want %q", r.hooks, want.hooks)
	}
	if len(r.reports) != 1 {
		t.Fatalf("%d reports", len(r.reports))
	}
	report := r.reports[0]
	if report.Outcome != want.report || report.Attempts != want.attempts {
		t.Errorf("%s after %d attempts (%v), want %s after %d", report.Outcome, report.Attempts, report.Reason, want.report, want.attempts)
	}
	keptError := strings.HasPrefix(want.row.ended, "Keep true") && r.outcome.name != "refusal"
	if reason := want.report != transaction.Committed || keptError; (report.Reason != nil) != reason {
		t.Errorf("the report's reason is %v, want one: %t", report.Reason, reason)
	}
	early := map[string]error{"a deadline that has passed": context.DeadlineExceeded, "a client that hung up": context.Canceled}
	if cause := early[want.row.ended]; cause != nil && (!errors.Is(report.Reason, cause) || !strings.Contains(report.Reason.Error(), "ended early")) {
		t.Errorf("the report's reason is %v, want %v", report.Reason, cause)
	}
	if errors.Is(report.Reason, sql.ErrTxDone) {
		t.Errorf("the report's reason is also that the transaction has ended: %v", report.Reason)
	}
	if failed := len(r.failures) > 0; failed != want.failure || len(r.failures) > 1 {
		t.Errorf("the log has the failures %q, want one: %t", r.failures, want.failure)
	}
}

// request makes the request. A panic with http.ErrAbortHandler stands for a closed connection: a recorder has none.
func (r *run) request(t *testing.T) (recorder *httptest.ResponseRecorder, closed bool) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r.hangUp = cancel
	if o := r.outcome; o.faulty > 0 && o.fault != statement {
		err := errRepeat
		if o.unknown {
			err = errUnknown
		}
		r.faults.fail(o.fault, o.faulty, err)
	}
	defer r.faults.fail(begin, 0, nil)
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler {
				panic(p)
			}
			closed = true
		}
	}()
	method := r.feature.method
	if method == "" {
		method = http.MethodPost
	}
	recorder = httptest.NewRecorder()
	r.app.ServeHTTP(recorder, httptest.NewRequest(method, "/", nil).WithContext(ctx))
	return recorder, false
}

func (want expectation) compareAnswer(t *testing.T, response *http.Response) {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(body)); response.StatusCode != want.status || got != want.body {
		t.Errorf("answered %d %.60q, want %d %.60q", response.StatusCode, got, want.status, want.body)
	}
	if length := response.Header.Get("Content-Length"); length != "" && length != fmt.Sprint(len(body)) {
		t.Errorf("announced %s bytes, sent %d", length, len(body))
	}
	if header := response.Header.Get("X-Test") != ""; header != want.header {
		t.Errorf("the handler's header was sent: %t, want %t", header, want.header)
	}
	if cookie := len(response.Cookies()) != 0; cookie != want.header {
		t.Errorf("the handler's cookie was sent: %t, want %t", cookie, want.header)
	}
	if again := response.Header.Get("Retry-After") != ""; again != (want.status == http.StatusServiceUnavailable) {
		t.Errorf("answered %d with Retry-After: %t", want.status, again)
	}
}

// takeValues returns what the database holds, and deletes it: a write that must not wait for the request's transaction.
func takeValues(t *testing.T, client *ent.Client) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	messages, err := client.Message.Query().All(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for _, m := range messages {
		values = append(values, m.Value)
	}
	if _, err := client.Message.Delete().Exec(ctx); err != nil {
		t.Fatalf("a write after the request: %v", err)
	}
	return strings.Join(values, " ")
}
