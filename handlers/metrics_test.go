package handlers_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"daybook/database/databasetest"
	"daybook/handlers"
)

// metrics returns the value of each series.
func (b *book) metrics() map[string]float64 {
	b.t.Helper()
	answer := b.send("GET", "/metrics", "")
	if answer.status != http.StatusOK {
		b.t.Fatal(answer)
	}
	values := map[string]float64{}
	for line := range strings.Lines(answer.body) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndex(line, " ")
		value, err := strconv.ParseFloat(strings.TrimSpace(line[i:]), 64)
		if err != nil {
			b.t.Fatal(err)
		}
		values[line[:i]] = value
	}
	return values
}

// waitForMetrics waits until the series have these values: a request is counted after its answer.
func (b *book) waitForMetrics(want map[string]float64) {
	b.t.Helper()
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		got, wrong := b.metrics(), []string{}
		for series, value := range want {
			if n, found := got[series]; !found || n != value {
				wrong = append(wrong, fmt.Sprintf("%s is %v (%t), want %v", series, n, found, value))
			}
		}
		if len(wrong) == 0 {
			return
		}
		if time.Now().After(limit) {
			b.t.Fatal(strings.Join(wrong, "\n"))
		}
	}
}

// requests is the series of how many requests were answered so.
func requests(method, route string, status int) string {
	return fmt.Sprintf(`daybook_http_request_duration_seconds_count{method=%q,route=%q,status="%d"}`, method, route, status)
}

func TestMetricsSayWhatHappened(t *testing.T) {
	b := open(t)
	want := map[string]float64{
		`daybook_transactions_total{mode="write",outcome="commit failed"}`: 0,
		"daybook_subscribers": 0,
	}
	b.waitForMetrics(want)
	b.onInsert("new.value = 'refused by the database'", either("SELECT RAISE(ABORT, 'no');", "RAISE 'no';"))
	for range 3 {
		b.record("hello")
	}
	b.send("POST", "/record", "")
	b.send("POST", "/record", "refused by the database")
	b.send("GET", "/", "")
	b.send("GET", "/?all", "")
	b.send("GET", "/nothing/here", "")
	b.send("PROPFIND", "/messages/1", "")
	b.follow("")
	for series, value := range map[string]float64{
		requests("POST", "/record", 201):                                 3,
		requests("POST", "/record", 422):                                 1,
		requests("POST", "/record", 500):                                 1,
		requests("GET", "/", 200):                                        1,
		requests("GET", "/?all", 200):                                    1,
		requests("GET", "other", 404):                                    1,
		requests("other", "/messages/:id", 405):                          1,
		`daybook_transactions_total{mode="write",outcome="committed"}`:   3,
		`daybook_transactions_total{mode="write",outcome="rolled back"}`: 2,
		`daybook_transactions_total{mode="read",outcome="committed"}`:    1,
		`daybook_transaction_waited_seconds_count{mode="write"}`:         5,
		`daybook_transaction_held_seconds_count{mode="write"}`:           5,
		`daybook_transaction_ending_seconds_count{mode="write"}`:         5,
		"daybook_commit_members_sum":                                     float64(b.number(either("SELECT 3", "SELECT 0"))),
		"daybook_commit_flush_seconds_count":                             float64(b.number(either("SELECT 3", "SELECT 0"))),
		"daybook_subscribers":                                            1,
		"daybook_database_up":                                            1,
		`promhttp_metric_handler_errors_total{cause="gathering"}`:        0,
	} {
		want[series] = value
	}
	b.waitForMetrics(want)
	got := b.metrics()
	for _, series := range []string{"daybook_database_size_bytes", "daybook_database_connections_max", "go_goroutines", "process_open_fds"} {
		if got[series] <= 0 {
			t.Errorf("%s is %v", series, got[series])
		}
	}
	if _, found := got["daybook_database_log_size_bytes"]; found == databasetest.Postgres() {
		t.Errorf("the size of SQLite's log is there: %t", found)
	}
}

// TestMetricsCountRepeatedTransactions has a message that is recorded at the third attempt.
func TestMetricsCountRepeatedTransactions(t *testing.T) {
	postgresOnly(t)
	b := open(t)
	b.exec("CREATE SEQUENCE attempts")
	b.onInsert("nextval('attempts') < 3", "RAISE 'again' USING ERRCODE = 'serialization_failure';")
	b.record("hello")
	b.waitForMetrics(map[string]float64{`daybook_transaction_retries_total{mode="write"}`: 2})
}

// TestMetricsAreReadAsPrometheusAsks also checks their names, as Prometheus's own linter does.
func TestMetricsAreReadAsPrometheusAsks(t *testing.T) {
	b := open(t)
	for accept, want := range map[string]string{
		"": "text/plain; version=0.0.4; charset=utf-8",
		"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3": "application/openmetrics-text; version=1.0.0; charset=utf-8",
	} {
		for _, method := range []string{"GET", "HEAD"} {
			got := b.send(method, "/metrics", "", "Accept", accept)
			if got.status != 200 || !strings.HasPrefix(got.header.Get("Content-Type"), want) || (got.body == "") != (method == "HEAD") {
				t.Errorf("%s as %q: %d %s", method, accept, got.status, got.header.Get("Content-Type"))
			}
		}
	}
	problems, err := promlint.New(strings.NewReader(b.send("GET", "/metrics", "").body)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// TestNoRequestMakesMetricsGrow sends random requests, first a thousand and then as many as that five times.
func TestNoRequestMakesMetricsGrow(t *testing.T) {
	b := openWith(t, databasetest.New(t), handlers.Access{Token: token})
	ask := func(n int) (series int) {
		for range n {
			word := strconv.FormatUint(rand.Uint64(), 36)
			method := []string{"GET", "POST", "X" + strings.ToUpper(word)}[rand.IntN(3)]
			host := []string{"localhost", word + ".localhost", word + ".example"}[rand.IntN(3)]
			path := []string{"/", "/?" + word, "/messages/" + word, "/" + word, "/static/" + word, "/" + word + "/" + word}[rand.IntN(6)]
			request := httptest.NewRequest(method, "http://"+host+path, nil)
			b.server.Handler.ServeHTTP(httptest.NewRecorder(), request)
		}
		return len(b.metrics())
	}
	b.metrics() // which is a request, too
	first := ask(1000)
	if last := ask(5000); last != first {
		t.Errorf("%d series have become %d", first, last)
	}
}

// TestScrapeDoesNotWaitForTheWriter has a transaction that writes, and a message that waits for it.
func TestScrapeDoesNotWaitForTheWriter(t *testing.T) {
	url := databasetest.New(t)
	b := openAt(t, url+either("", "&pool_max_conns=2")) // of which one may write
	tx, err := b.client.Tx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tx.Message.Create().SetValue("first").ExecX(t.Context())
	recorded := make(chan struct{})
	go func() {
		defer close(recorded)
		b.record("second")
	}()
	b.waitForMetrics(map[string]float64{"daybook_database_waiting": 1, "daybook_database_connections": 1, "daybook_database_up": 1})
	select {
	case <-recorded:
		t.Error("the message has not waited")
	default:
	}
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
	<-recorded
}

// TestScrapeWithoutADatabase loses the file, or the server.
func TestScrapeWithoutADatabase(t *testing.T) {
	url := databasetest.New(t)
	lose := func() { _ = os.Remove(url) }
	if databasetest.Postgres() {
		server := databasetest.Start(t, "fsync=off")
		url, lose = server.URL("postgres"), func() { server.End(syscall.SIGINT) }
	}
	b := openAt(t, url)
	lose()
	got := b.metrics()
	if up, found := got["daybook_database_up"]; up != 0 || !found {
		t.Errorf("up is %v (%t)", up, found)
	}
	if size, found := got["daybook_database_size_bytes"]; found {
		t.Errorf("the size is %v", size)
	}
	if got["daybook_database_connections_max"] == 0 || got["go_goroutines"] == 0 {
		t.Errorf("other metrics are missing: %v", got)
	}
}
