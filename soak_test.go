//go:build unix

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
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

	"daybook/database/databasetest"
)

// soakTime is how long TestSoak loads each database: DAYBOOK_TEST_SOAK, such as 30m, or 15 seconds.
func soakTime() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("DAYBOOK_TEST_SOAK")); err == nil {
		return d
	}
	return 15 * time.Second
}

// TestSoak has visitors record, read, search, remove and follow without a pause, on both databases. What the process holds must not
// grow, no request may fail, and in the end the book must be what was acknowledged.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this is about long runs")
	}
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		soak(t, "daybook.db")
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		postgres := databasetest.Start(t)
		t.Parallel()
		soak(t, postgres.New(t))
	})
}

// soaking is a server, its visitors, and what these were told.
type soaking struct {
	*process
	client   http.Client
	requests atomic.Int64
	newest   atomic.Int64 // about the ID of the newest message

	mu  sync.Mutex
	ids []int // of the messages by their numbers, or 0 for those that are not there
}

// soakWindows is how often the load pauses for a look at what the process holds.
const soakWindows = 6

func soak(t *testing.T, database string) {
	s := &soaking{process: serveIn(t, t.TempDir(), "--listen=127.0.0.1:0", "--database="+database, "DAYBOOK_TOKEN="+soakToken)}
	s.client.Transport = &http.Transport{MaxIdleConnsPerHost: 100}
	var windows []held
	for range soakWindows {
		windows = append(windows, s.window(soakTime()/soakWindows))
	}
	for i, w := range windows {
		t.Logf("window %d: %+v", i+1, w)
	}
	checkFlat(t, windows)
	s.checkBook()
	s.client.CloseIdleConnections()
	if log := s.stop(syscall.SIGTERM); strings.Contains(log, "level=ERROR") {
		t.Errorf("it has logged errors:\n%s", log)
	}
}

// held is what the process holds at rest.
type held struct {
	Requests          int64 // so far
	Goroutines, Files float64
	Heap              float64 // bytes at which the next garbage collection begins: the last one left a sixth less
	Resident          float64 // bytes under load, a median
	Log               float64 // bytes of SQLite's write-ahead log under load: the most
}

// window loads the server, and lets it rest.
func (s *soaking) window(length time.Duration) held {
	ctx, cancel := context.WithTimeout(s.t.Context(), length)
	defer cancel()
	var clients sync.WaitGroup
	for range 12 {
		clients.Go(func() { s.visit(ctx) })
	}
	for i := range 9 {
		clients.Go(func() { s.occupy(ctx, i) })
	}
	clients.Go(func() { s.readEverything(ctx) })
	var h held
	var resident []float64
	for ctx.Err() == nil {
		m := s.metrics()
		resident = append(resident, m["process_resident_memory_bytes"])
		h.Log = max(h.Log, m["daybook_database_log_size_bytes"])
		time.Sleep(min(length/50, time.Second))
	}
	clients.Wait()
	s.client.CloseIdleConnections()
	h.Requests, h.Resident = s.requests.Load(), median(resident)
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(200 * time.Millisecond) { // until nothing ends any more
		m := s.metrics()
		goroutines, files := m["go_goroutines"], m["process_open_fds"]
		if goroutines == h.Goroutines && files == h.Files || time.Now().After(limit) {
			break
		}
		h.Goroutines, h.Files = goroutines, files
	}
	h.Heap = s.heapAtRest()
	return h
}

// heapAtRest asks for the metrics until their garbage has led to two collections: the first one only empties the pools of memory.
func (s *soaking) heapAtRest() float64 {
	const collections = "go_gc_duration_seconds_count"
	m := s.metrics()
	for before := m[collections]; m[collections] < before+2; {
		m = s.metrics()
	}
	return m["go_memstats_next_gc_bytes"]
}

func median(samples []float64) float64 {
	slices.Sort(samples)
	return samples[len(samples)/2]
}

// checkFlat compares the last third with the one before. A leak of one goroutine, one file or 1 KB in 100 requests is twice what
// may be added in between, once that is more than the noise.
func checkFlat(t *testing.T, windows []held) {
	t.Helper()
	const third = soakWindows / 3
	requests := float64(windows[2*third-1].Requests - windows[third-1].Requests)
	for _, test := range []struct {
		what         string
		of           func(held) float64
		leak, jitter float64
	}{
		{"goroutines", func(h held) float64 { return h.Goroutines }, 1, 3},
		{"open files", func(h held) float64 { return h.Files }, 1, 3},
		{"bytes of heap", func(h held) float64 { return h.Heap }, 1024, 1 << 20},
		{"bytes of memory", func(h held) float64 { return h.Resident }, 1024, 4 << 20},
	} {
		if strings.HasPrefix(test.what, "bytes") && (race || soakTime() < time.Minute) {
			continue // the race detector takes memory, too, and caches fill for a while
		}
		mean := func(windows []held) (sum float64) {
			for _, w := range windows {
				sum += test.of(w) / third
			}
			return sum
		}
		grown, most := mean(windows[2*third:])-mean(windows[third:2*third]), test.leak*requests/100/2+test.jitter
		t.Logf("in %.0f requests there are %+.1f more %s; %.1f are allowed", requests, grown, test.what, most)
		if grown > most {
			t.Errorf("in %.0f requests there are %.1f more %s, and %.1f are allowed", requests, grown, test.what, most)
		}
	}
	if last := windows[len(windows)-1].Log; last > 128<<20 {
		t.Errorf("SQLite's log has %.0f bytes", last)
	}
}

const soakToken = "the-token-of-the-soak"

// ask sends a request that must succeed, and returns its answer with its body read.
func (s *soaking) ask(method, path, body string, headers ...string) *http.Response {
	request, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Error(err)
		return nil
	}
	request.Header.Set("Authorization", "Bearer "+soakToken)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := s.client.Do(request)
	s.requests.Add(1)
	if err != nil {
		s.t.Error(err)
		return nil
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode >= http.StatusBadRequest {
		s.t.Errorf("%s %s is answered %s, %v", method, path, response.Status, err)
	}
	return response
}

// soakMessage returns the text of a message.
func soakMessage(number int) string {
	return fmt.Sprint(number, strings.Repeat(" and some words", number%40))
}

// visit does what visitors do.
func (s *soaking) visit(ctx context.Context) {
	var numbers []int // of messages of this visitor
	for ctx.Err() == nil {
		if len(numbers) < 10 || rand.IntN(3) == 0 {
			numbers = append(numbers, s.record())
			continue
		}
		i := rand.IntN(len(numbers))
		id := s.idOf(numbers[i])
		paths := []string{
			"/", "/?format=html", "/?format=json&limit=100", "/feed", "/record?format=html", "/?q=words", "/?q=some+words&format=html",
			"/?on=" + time.Now().Format(time.DateOnly), "/messages/ID", "/?before=ID&limit=20", "/?after=ID&limit=20", "/?all&after=ID",
		}
		if rand.IntN(8) == 0 {
			s.ask("DELETE", fmt.Sprint("/messages/", id), "")
			s.setID(numbers[i], 0)
			numbers = slices.Delete(numbers, i, i+1)
			continue
		}
		s.ask("GET", strings.Replace(paths[rand.IntN(len(paths))], "ID", strconv.Itoa(id), 1), "")
	}
}

func (s *soaking) idOf(number int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[number]
}

func (s *soaking) setID(number, id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids[number] = id
}

// record records a message in one of the ways that there are, and maybe a second time with the same key.
func (s *soaking) record() (number int) {
	s.mu.Lock()
	number = len(s.ids)
	s.ids = append(s.ids, 0)
	s.mu.Unlock()
	value := soakMessage(number)
	way := [][2]string{
		{"text/plain", value},
		{"application/json", fmt.Sprintf(`{"msg":%q}`, value)},
		{"application/x-www-form-urlencoded", "msg=" + url.QueryEscape(value)},
	}[rand.IntN(3)]
	headers, times := []string{"Content-Type", way[0]}, 1
	if rand.IntN(2) == 0 {
		headers, times = append(headers, "Idempotency-Key", strconv.Itoa(number)), 1+rand.IntN(2)
	}
	for range times {
		response := s.ask("POST", "/record", way[1], headers...)
		if response == nil {
			continue
		}
		_, tail, _ := strings.Cut(response.Header.Get("Location"), "messages/")
		id, err := strconv.Atoi(tail)
		if before := s.idOf(number); err != nil || before != 0 && before != id {
			s.t.Errorf("message %d has the ID %d, and then %q", number, before, tail)
		}
		s.setID(number, id)
		s.newest.Store(int64(id))
	}
	return number
}

// readEverything reads all messages, and searches for what is in none: a few times, as that takes long.
func (s *soaking) readEverything(ctx context.Context) {
	for ctx.Err() == nil {
		s.ask("GET", "/?all&format=ndjson", "")
		s.ask("GET", "/?q=nowhere", "")
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(soakTime() / soakWindows / 2)):
		}
	}
}

// occupy follows the book or reads much of it for a while, some of the time slowly, and goes away politely or not. Another one
// records half a message.
func (s *soaking) occupy(ctx context.Context, i int) {
	for ctx.Err() == nil {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			s.t.Error(err)
			return
		}
		request := []string{
			"GET /live?after=%d HTTP/1.1\r\n", "GET /live?after=%d&format=events HTTP/1.1\r\n", "GET /?all&after=%d HTTP/1.1\r\n",
			"POST /record?%d HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n",
		}[rand.IntN(4)]
		s.requests.Add(1)
		end := time.Now().Add(rand.N(time.Second))
		_ = conn.SetDeadline(end)
		fmt.Fprintf(conn, request+"Host: localhost\r\nAuthorization: Bearer "+soakToken+"\r\n\r\nhalf a message", max(0, s.newest.Load()-1000))
		s.watch(conn, time.Duration(i%3)*10*time.Millisecond)
		if i%2 == 0 {
			_ = conn.(*net.TCPConn).SetLinger(0) // it is reset
		}
		conn.Close()
	}
}

// watch reads lines until the deadline of the connection. IDs must ascend.
func (s *soaking) watch(conn net.Conn, pause time.Duration) {
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return // its time is up
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		s.t.Errorf("a follower is answered %s", response.Status)
	}
	newest := 0
	for lines := bufio.NewReader(response.Body); ; time.Sleep(pause) {
		line, err := lines.ReadString('\n')
		if err != nil {
			return // its time is up, maybe within a line
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "id: "), "\t")
		if id, err := strconv.Atoi(first); err == nil {
			if id <= newest {
				s.t.Errorf("a follower gets %d after %d", id, newest)
			}
			newest = id
		}
	}
}

// checkBook compares all messages with what was acknowledged.
func (s *soaking) checkBook() {
	response, err := http.Get(s.url + "/?all")
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	n := 0
	for lines := bufio.NewScanner(response.Body); lines.Scan(); n++ {
		fields := strings.Split(lines.Text(), "\t")
		id, _ := strconv.Atoi(fields[0])
		first, _, _ := strings.Cut(fields[2], " ")
		number, err := strconv.Atoi(first)
		if err != nil || number >= len(s.ids) || s.ids[number] != id || fields[2] != soakMessage(number) {
			s.t.Fatalf("this was not acknowledged, or removed, or is there twice: %q", lines.Text())
		}
		s.ids[number] = 0
	}
	if lost := slices.IndexFunc(s.ids, func(id int) bool { return id != 0 }); lost >= 0 {
		s.t.Errorf("message %d was acknowledged with the ID %d, and is not there", lost, s.ids[lost])
	}
	s.t.Logf("%d requests; %d messages were recorded, and %d are left", s.requests.Load(), len(s.ids), n)
}
