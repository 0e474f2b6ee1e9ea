package handlers_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"go.uber.org/goleak"

	daybook "daybook/book" // book is what the tests call one that is served
	"daybook/database"
	"daybook/database/databasetest"
	"daybook/ent"
	"daybook/ent/message"
	"daybook/ent/migrations"
	"daybook/handlers"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(browsing{m})
}

func TestOnPostgreSQL(t *testing.T) { databasetest.OnPostgreSQL(t) }

// maxMessage is the limit of the books that the tests open.
const maxMessage = 1000

// book is a Daybook that is served on a real listener from a database of its own.
type book struct {
	t      testing.TB
	addr   string // host:port
	url    string
	at     string // the URL of its database
	token  string // is shown with each request, if there is one
	driver dialect.Driver
	client *ent.Client
	server *http.Server
	came   *log // the requests, when they come
	log    *log
}

// log is what a book has logged so far.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// clear drops what was logged.
func (l *log) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// waitFor waits until the log contains something n times: an answer may arrive before its request is logged, and a stream is logged
// only at its end.
func (l *log) waitFor(t testing.TB, n int, what string) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); strings.Count(l.String(), what) < n; {
		if time.Now().After(limit) {
			t.Fatalf("the log does not contain %q %d times:\n%s", what, n, l)
		}
		time.Sleep(time.Millisecond)
	}
}

// open opens a book as main does.
func open(t testing.TB) *book {
	t.Helper()
	return openAt(t, databasetest.New(t))
}

// openAt opens the book in the database at url.
func openAt(t testing.TB, url string) *book {
	t.Helper()
	return openWith(t, url, handlers.Access{})
}

// openWith opens the book in the database at url, with its rules of access.
func openWith(t testing.TB, url string, access handlers.Access) *book {
	t.Helper()
	return openConfigured(t, url, handlers.Config{MaxMessage: maxMessage, Access: access})
}

// openConfigured opens the book in the database at url. The configuration lacks the database and the log.
func openConfigured(t testing.TB, url string, config handlers.Config) *book {
	t.Helper()
	driver, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	client := ent.NewClient(ent.Driver(driver))
	log, came := &log{}, &log{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	if err := database.Migrate(t.Context(), driver, migrations.Files, logger); err != nil {
		t.Fatal(err)
	}
	if err := daybook.Upgrade(t.Context(), driver, logger); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	shutdown, begin := context.WithCancel(context.Background())
	config.Client, config.Driver, config.Shutdown, config.Log = client, driver, shutdown, logger
	server := handlers.New(config).Server
	server.RegisterOnShutdown(begin)
	handler := server.Handler
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(came, r.Method, r.RequestURI, r.RemoteAddr)
		handler.ServeHTTP(w, r)
	})
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("shut down: %v", err)
		}
		<-served
		if err := client.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	addr := listener.Addr().String()
	return &book{t: t, addr: addr, url: "http://" + addr, at: url, driver: driver, client: client, server: server, came: came, log: log}
}

// answer is what came back, whole.
type answer struct {
	status int
	header http.Header
	body   string
}

// send sends a request. The headers are pairs of name and value. It follows no redirect.
func (b *book) send(method, path, body string, headers ...string) answer {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if b.token != "" {
		request.Header.Set("Authorization", "Bearer "+b.token)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{response.StatusCode, response.Header, string(content)}
}

// record records a message that must be accepted.
func (b *book) record(value string) {
	b.t.Helper()
	if a := b.send(http.MethodPost, "/record", value, "Content-Type", "text/plain"); a.status != http.StatusCreated {
		b.t.Fatalf("record %q: %d %s", value, a.status, a.body)
	}
}

// values returns the messages, oldest first, each quoted as its text is.
func (b *book) values() []string {
	b.t.Helper()
	messages, err := b.client.Message.Query().Order(message.ByID()).All(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	values := []string{}
	for _, m := range messages {
		values = append(values, m.Value)
	}
	return values
}

// exec runs a statement on the connection that writes.
func (b *book) exec(statement string) {
	b.t.Helper()
	if err := b.driver.Exec(b.t.Context(), statement, []any{}, nil); err != nil {
		b.t.Fatal(err)
	}
}

// either returns the statement of SQLite or that of PostgreSQL.
func either(sqlite, postgres string) string {
	if databasetest.Postgres() {
		return postgres
	}
	return sqlite
}

// postgresOnly ends a test that is about PostgreSQL when the tests run on SQLite.
func postgresOnly(t *testing.T) {
	t.Helper()
	if !databasetest.Postgres() {
		t.Skip("this is about PostgreSQL")
	}
}

// number returns the number that the query finds.
func (b *book) number(query string) int {
	b.t.Helper()
	var rows entsql.Rows
	if err := b.driver.Query(b.t.Context(), query, []any{}, &rows); err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	n, err := entsql.ScanInt(rows)
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// need finds a program that a test drives. Without it the test is skipped, or fails if DAYBOOK_TEST_STRICT=1. With -short it is always
// skipped.
func need(t testing.TB, install string, names ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skipf("-short: this drives %s", names[0])
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	message := "there is no " + names[0] + " here; install it, for example with: " + install
	if os.Getenv("DAYBOOK_TEST_STRICT") == "1" {
		t.Fatal(message)
	}
	t.Skip(message)
	return ""
}
