//go:build unix

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"daybook/database"
	"daybook/database/databasetest"
)

// instances starts servers on one database.
func instances(t *testing.T, n int, url string) (servers []*process) {
	t.Helper()
	for range n {
		s := serveIn(t, t.TempDir(), "--listen=127.0.0.1:0", "--database="+url)
		t.Cleanup(func() {
			if s.command.ProcessState == nil {
				s.stop(syscall.SIGTERM)
			}
		})
		servers = append(servers, s)
	}
	return servers
}

// recorders are clients that record as long as they are told to. Each repeats a message, with its idempotency key, until it is
// recorded: at another server each time.
type recorders struct {
	t       *testing.T
	clients sync.WaitGroup
	stopped atomic.Bool

	mu       sync.Mutex
	recorded map[string]int // the ID of each message that was acknowledged
	refused  map[int]int    // how often each status was answered
	slowest  time.Duration  // of all answers
}

// record starts clients.
func record(t *testing.T, clients int, servers ...*process) *recorders {
	r := &recorders{t: t, recorded: map[string]int{}, refused: map[int]int{}}
	for client := range clients {
		r.clients.Go(func() {
			for i := 0; !r.stopped.Load(); i++ {
				r.once(fmt.Sprint(client, " ", i), servers)
			}
		})
	}
	return r
}

// once records one message.
func (r *recorders) once(value string, servers []*process) {
	for begun, i := time.Now(), rand.IntN(len(servers)); ; i++ {
		status, id := r.send(servers[i%len(servers)], value)
		if status == http.StatusCreated {
			r.mu.Lock()
			r.recorded[value] = id
			r.mu.Unlock()
			return
		}
		r.mu.Lock()
		r.refused[status]++
		r.mu.Unlock()
		if time.Since(begun) > time.Minute {
			r.t.Errorf("%q is not recorded after a minute: %d", value, status)
			return
		}
		time.Sleep(rand.N(50 * time.Millisecond))
	}
}

// send sends a message once. The status is 0 if there is no answer.
func (r *recorders) send(s *process, value string) (status, id int) {
	status, id, _ = r.ask(s, http.MethodPost, "/record", value, "Content-Type", "text/plain", "Idempotency-Key", value)
	return status, id
}

// ask sends a request once. The ID is that of the message that the answer is about. The headers are pairs of name and value.
func (r *recorders) ask(s *process, method, path, body string, headers ...string) (status, id int, answer string) {
	request, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Error(err)
		return 0, 0, ""
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	sent := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, 0, ""
	}
	defer response.Body.Close()
	content, _ := io.ReadAll(response.Body) // the status says enough if it breaks off
	r.mu.Lock()
	r.slowest = max(r.slowest, time.Since(sent))
	r.mu.Unlock()
	_, number, _ := strings.Cut(response.Header.Get("Location"), "messages/")
	id, _ = strconv.Atoi(number)
	return response.StatusCode, id, string(content)
}

// wait waits until so many more messages are recorded, and returns how long it took.
func (r *recorders) wait(more int) time.Duration {
	r.t.Helper()
	count := func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.recorded)
	}
	begun := time.Now()
	for wanted := count() + more; count() < wanted; time.Sleep(time.Millisecond) {
		if time.Since(begun) > 30*time.Second {
			r.t.Fatalf("nothing is recorded: %v", r.refused)
		}
	}
	return time.Since(begun)
}

// stop ends the clients, and returns the ID of each recorded message.
func (r *recorders) stop() map[string]int {
	r.stopped.Store(true)
	r.clients.Wait()
	http.DefaultClient.CloseIdleConnections()
	return r.recorded
}

// checkMessages sees that the database has each recorded message once, under its ID, and no other one.
func checkMessages(t *testing.T, url string, recorded map[string]int) {
	t.Helper()
	driver, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer driver.Close()
	var rows entsql.Rows
	if err := driver.Query(t.Context(), "SELECT id, value FROM messages ORDER BY id", []any{}, &rows); err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	stored, n := map[string]int{}, 0
	for ; rows.Next(); n++ {
		var id int
		var value string
		if err := rows.Scan(&id, &value); err != nil {
			t.Fatal(err)
		}
		stored[value] = id
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(stored, recorded) || n != len(recorded) {
		t.Errorf("%d messages are stored, %d different ones; %d were acknowledged", n, len(stored), len(recorded))
	}
}

// TestDatabaseServerRestarts has many record while PostgreSQL is restarted as after a crash: where BEGIN is sent with the first
// statement, and where it is sent alone.
func TestDatabaseServerRestarts(t *testing.T) {
	postgres := databasetest.Start(t)
	for _, parameter := range []string{"", "&default_query_exec_mode=exec"} {
		t.Run(parameter, func(t *testing.T) {
			direct := postgres.New(t)
			databaseServerRestarts(t, postgres, direct, direct+parameter, 5*time.Second)
		})
	}
}

// databaseServerRestarts restarts the server of the direct URL while many record through an instance with the other URL.
func databaseServerRestarts(t *testing.T, postgres *databasetest.Server, direct, through string, limit time.Duration) {
	s := instances(t, 1, through)[0]
	r := record(t, 32, s)
	for range 3 {
		r.wait(200)
		postgres.End(syscall.SIGQUIT)
		if status, _ := r.send(s, "while it is away"); status != http.StatusServiceUnavailable && status != http.StatusCreated {
			t.Errorf("answered %d while the database is away", status)
		}
		if err := postgres.Begin(); err != nil {
			t.Fatal(err)
		}
		if took := r.wait(200); took > limit {
			t.Errorf("recording went on after %s", took)
		}
	}
	recorded := r.stop()
	for status := range r.refused {
		if status != http.StatusServiceUnavailable {
			t.Errorf("%d were answered %d", r.refused[status], status)
		}
	}
	if r.slowest > 10*time.Second {
		t.Errorf("an answer took %s", r.slowest)
	}
	t.Logf("%d recorded, refused %v, the slowest answer took %s", len(recorded), r.refused, r.slowest)
	checkMessages(t, direct, recorded)
}

// TestFailover loses the primary server and promotes the standby: once, or DAYBOOK_TEST_FAILOVERS times.
func TestFailover(t *testing.T) {
	rounds := 1
	if n, err := strconv.Atoi(os.Getenv("DAYBOOK_TEST_FAILOVERS")); err == nil {
		rounds = n
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), failover)
	}
}

func failover(t *testing.T) {
	primary := databasetest.Start(t)
	standby := primary.Standby(t)
	both := databasetest.URLOf(primary, standby)
	servers := instances(t, 2, both)
	r := record(t, 32, servers...)
	r.wait(500 + rand.IntN(1000))
	killed := time.Now()
	primary.End(syscall.SIGKILL)
	time.Sleep(rand.N(300 * time.Millisecond)) // until somebody notices
	standby.Promote(t)
	r.wait(1)
	away := time.Since(killed)
	r.wait(500)
	recorded := r.stop()
	for i, s := range servers {
		value := fmt.Sprint("afterwards ", i)
		status, id := r.send(s, value)
		if recorded[value] = id; status != http.StatusCreated {
			t.Errorf("instance %d answered %d", i, status)
		}
	}
	if away > 10*time.Second || r.slowest > 20*time.Second {
		t.Errorf("recording went on after %s, and an answer took %s", away, r.slowest)
	}
	t.Logf("%d recorded, refused %v, recording went on after %s, the slowest answer took %s", len(recorded), r.refused, away, r.slowest)
	checkMessages(t, both, recorded)
}

// TestStandbyAway records while the synchronous standby is away. Until it is back, nobody may see the message or be told that it is
// recorded: the primary server could be lost, and the message with it.
func TestStandbyAway(t *testing.T) {
	t.Parallel()
	primary := databasetest.Start(t)
	standby := primary.Standby(t)
	s := instances(t, 1, primary.URL("postgres"))[0]
	r := &recorders{t: t, recorded: map[string]int{}, refused: map[int]int{}}
	standby.End(syscall.SIGKILL)
	waiting := record(t, 60, s) // more than there are connections
	for begun := time.Now(); time.Since(begun) < 2*time.Second; {
		if asked := time.Now(); s.list() != "" || time.Since(asked) > time.Second {
			t.Fatalf("after %s, the list shows a message, or took %s", time.Since(begun), time.Since(asked))
		}
	}
	waiting.stopped.Store(true)
	for range 2 { // the second one finds the message's key taken
		if status, _ := r.send(s, "hello"); status != http.StatusServiceUnavailable {
			t.Errorf("answered %d", status)
		}
		if list := s.list(); list != "" {
			t.Errorf("it lists %q", list)
		}
	}
	// 5 for a connection, 10 in COMMIT, and in the second attempt 5 for a connection and 5 for the first one's key.
	if r.slowest > 26*time.Second {
		t.Errorf("an answer took %s", r.slowest)
	}
	if err := standby.Begin(); err != nil {
		t.Fatal(err)
	}
	r.once("hello", []*process{s})
	recorded := waiting.stop()
	maps.Copy(recorded, r.stop())
	checkMessages(t, primary.URL("postgres"), recorded)
}

func openDatabase(t *testing.T, url string) dialect.Driver {
	t.Helper()
	driver, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { driver.Close() })
	return driver
}

// TestRecordHereReadThere records at one instance and reads at another, by every way to read.
func TestRecordHereReadThere(t *testing.T) { recordHereReadThere(t, databasetest.Start(t).New(t)) }

func recordHereReadThere(t *testing.T, url string) {
	servers := instances(t, 2, url)
	for i := range 200 {
		value := fmt.Sprint("message ", i)
		if status, _ := servers[i%2].post(value); status != http.StatusCreated {
			t.Fatal(status)
		}
		path := []string{"/", "/?format=html", "/?after=" + strconv.Itoa(i), "/?all", "/?q=" + strconv.Itoa(i)}[i%5]
		if body := servers[1-i%2].get(path); !strings.Contains(body, value) {
			t.Fatalf("%s does not have %q:\n%s", path, value, body)
		}
	}
}

// get returns the body of the answer.
func (s *process) get(path string) string {
	s.t.Helper()
	response, err := http.Get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	var body strings.Builder
	if _, err := bufio.NewReader(response.Body).WriteTo(&body); err != nil {
		s.t.Fatal(err)
	}
	return body.String()
}

// metrics returns the metrics that have no labels.
func (s *process) metrics() map[string]float64 {
	s.t.Helper()
	metrics := map[string]float64{}
	for line := range strings.Lines(s.get("/metrics")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if number, err := strconv.ParseFloat(value, 64); err == nil {
			metrics[name] = number
		}
	}
	return metrics
}

// TestSameKeyAtTwoInstances sends the same message with the same key to both at the same moment.
func TestSameKeyAtTwoInstances(t *testing.T) { sameKeyAtTwoInstances(t, databasetest.Start(t).New(t)) }

func sameKeyAtTwoInstances(t *testing.T, url string) {
	servers := instances(t, 2, url)
	r := &recorders{t: t, recorded: map[string]int{}, refused: map[int]int{}}
	for i := range 100 {
		value := fmt.Sprint("message ", i)
		var ids [4]int
		var clients sync.WaitGroup
		for j := range ids {
			clients.Go(func() {
				status, id := r.send(servers[j%2], value)
				if ids[j] = id; status != http.StatusCreated {
					t.Errorf("answered %d", status)
				}
			})
		}
		clients.Wait()
		if slices.Min(ids[:]) != slices.Max(ids[:]) {
			t.Fatalf("answered as %v", ids)
		}
		r.recorded[value] = ids[0]
	}
	checkMessages(t, url, r.stop())
}

// TestFollowersOfTwoInstances has 100 clients record and 50 follow, through one proxy of two instances. Streams and listening
// connections are cut at random, transactions that insert are slow or rolled back, and another application has one open all the
// time. Each follower must have the book, in order.
func TestFollowersOfTwoInstances(t *testing.T) {
	postgres := databasetest.Start(t, "fsync=off")
	url := postgres.New(t)
	servers := instances(t, 2, url)
	driver := openDatabase(t, url)
	stay, err := driver.Tx(t.Context())
	if err == nil {
		err = stay.Exec(t.Context(), "CREATE TABLE other ()", []any{}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer stay.Rollback()
	proxy := httptest.NewServer(roundRobin(t, servers))
	defer proxy.Close()

	end := make(chan struct{})
	var others sync.WaitGroup
	followersHave := followAll(t, 50, proxy.URL)
	others.Go(func() { insertOddly(t, driver, end) })
	others.Go(func() { cutListeners(t, driver, end) })
	r := record(t, 100, &process{t: t, url: proxy.URL})
	r.wait(3000)
	recorded := r.stop()
	close(end)
	others.Wait()
	if status, _ := servers[0].post("the last one"); status != http.StatusCreated {
		t.Fatal(status)
	}
	want := stored(t, driver)
	followersHave(want)
	t.Logf("%d recorded by clients, %d in all", len(recorded), len(want))
}

// followAll has clients follow until have is called: with what each must have got by then.
func followAll(t *testing.T, clients int, address string) (have func(book []string)) {
	var last atomic.Int64 // the ID of the newest message, once all are recorded
	var followers sync.WaitGroup
	books := make([][]string, clients)
	for i := range books {
		followers.Go(func() { books[i] = follow(t, address, &last) })
	}
	return func(want []string) {
		newest, _, _ := strings.Cut(want[len(want)-1], "\t")
		id, _ := strconv.Atoi(newest)
		last.Store(int64(id))
		followers.Wait()
		for i, book := range books {
			if !slices.Equal(book, want) {
				t.Errorf("follower %d has %d messages of %d%s", i, len(book), len(want), difference(book, want))
			}
		}
	}
}

// difference says where two books differ first.
func difference(got, want []string) string {
	for i := range got {
		if i >= len(want) || got[i] != want[i] {
			return fmt.Sprintf(": %q where %q should be", got[i], want[min(i, len(want)-1)])
		}
	}
	return ""
}

// roundRobin returns a proxy that sends one request to one server, and the next one to the other. It cuts many streams.
func roundRobin(t *testing.T, servers []*process) http.Handler {
	var proxies []*httputil.ReverseProxy
	for _, s := range servers {
		target, err := url.Parse(s.url)
		if err != nil {
			t.Fatal(err)
		}
		proxy := httputil.NewSingleHostReverseProxy(target)
		proxy.FlushInterval, proxy.ErrorLog = -1, log.New(io.Discard, "", 0) // it would log each stream that is cut
		proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
		proxies = append(proxies, proxy)
	}
	var turn atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/live") {
			ctx, cut := context.WithTimeout(r.Context(), rand.N(time.Second))
			defer cut()
			r = r.WithContext(ctx)
			defer func() { _ = recover() }() // it panics if the stream ends early
		}
		proxies[turn.Add(1)%int64(len(proxies))].ServeHTTP(w, r)
	})
}

// follow follows until it has the last message. It returns the IDs and the values.
func follow(t *testing.T, address string, last *atomic.Int64) (book []string) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	newest := 0
	for progress := time.Now(); last.Load() == 0 || int64(newest) < last.Load(); {
		if time.Since(progress) > time.Minute {
			t.Errorf("a follower has not got further than %d", newest)
			return book
		}
		response, err := client.Get(fmt.Sprintf("%s/live?after=%d", address, newest))
		if err != nil {
			continue
		}
		for lines := bufio.NewReader(response.Body); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				break // and what has come of the line is dropped
			}
			fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			if len(fields) != 3 {
				break // an error of the proxy
			}
			newest, _ = strconv.Atoi(fields[0])
			book, progress = append(book, fields[0]+"\t"+fields[2]), time.Now()
			if int64(newest) == last.Load() {
				break
			}
		}
		response.Body.Close()
	}
	return book
}

// insertOddly inserts messages in transactions that are slow, or rolled back, or both.
func insertOddly(t *testing.T, driver dialect.Driver, end chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-end:
			return
		case <-time.After(rand.N(20 * time.Millisecond)):
		}
		tx, err := driver.Tx(t.Context())
		if err == nil {
			err = tx.Exec(t.Context(), "INSERT INTO messages (value, recorded_at) VALUES ($1, now())", []any{fmt.Sprint("odd ", i)}, nil)
		}
		if err != nil {
			t.Error(err)
			return
		}
		time.Sleep(rand.N(100 * time.Millisecond))
		done := tx.Commit
		if i%2 == 0 {
			done = tx.Rollback
		}
		if err := done(); err != nil {
			t.Error(err)
		}
	}
}

// cutListeners ends the listening connections, again and again.
func cutListeners(t *testing.T, driver dialect.Driver, end chan struct{}) {
	for {
		select {
		case <-end:
			return
		case <-time.After(rand.N(500 * time.Millisecond)):
		}
		const cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
		if err := driver.Exec(t.Context(), cut, []any{}, nil); err != nil {
			t.Error(err)
		}
	}
}

// stored returns the IDs and the values of all messages.
func stored(t *testing.T, driver dialect.Driver) (book []string) {
	t.Helper()
	var rows entsql.Rows
	if err := driver.Query(t.Context(), "SELECT id || '\t' || value FROM messages ORDER BY id", []any{}, &rows); err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if err := entsql.ScanSlice(rows, &book); err != nil {
		t.Fatal(err)
	}
	return book
}
