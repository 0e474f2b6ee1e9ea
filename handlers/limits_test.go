package handlers_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// head is the header of a request that records a form of so many bytes, or of an unknown length if it is negative.
func head(length int) string {
	size := fmt.Sprint("Content-Length: ", length)
	if length < 0 {
		size = "Transfer-Encoding: chunked"
	}
	return "POST /record HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n" + size + "\r\n\r\n"
}

// answer reads an answer. Its body ends without an error.
func (b *bubble) answer(conn net.Conn) answer {
	b.t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if response.Close {
		response.Header.Set("Connection", "close")
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

// drip sends so many bytes at each interval, until it has sent all or is cut off.
func (b *bubble) drip(conn net.Conn, all, size int, interval time.Duration) {
	var sending sync.WaitGroup
	sending.Go(func() {
		for ; all > 0; all -= size {
			time.Sleep(interval)
			if _, err := conn.Write(bytes.Repeat([]byte("x"), min(all, size))); err != nil {
				return
			}
		}
	})
	b.t.Cleanup(func() {
		conn.Close()
		sending.Wait()
	})
}

// TestSlowBodyIsCut has bodies that begin well, and then come slowly or not at all.
func TestSlowBodyIsCut(t *testing.T) {
	for name, test := range map[string]struct {
		length int
		size   string // of a chunk
		begin  int
		slow   time.Duration // for a byte
		within time.Duration
	}{
		"a short one that stops":   {100, "", 50, time.Hour, 10 * time.Second},
		"a short one that drips":   {100, "", 50, time.Second, 10 * time.Second},
		"a long one that stops":    {40_000, "", 30_000, time.Hour, 10 * time.Second},
		"a long one that drips":    {40_000, "", 30_000, 10 * time.Millisecond, 20 * time.Second},
		"one of an unknown length": {-1, "1000\r\n", 20, time.Second, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inABubble(t, func(t *testing.T, b *bubble) {
				begun := time.Now()
				conn := b.say(head(test.length) + test.size + strings.Repeat("x", test.begin))
				b.drip(conn, 40_000, 1, test.slow)
				got, took := b.answer(conn), time.Since(begun)
				if got.status != http.StatusRequestTimeout || got.header.Get("Connection") != "close" || !strings.Contains(got.body, "too slowly") {
					t.Errorf("answered %d %v %s", got.status, got.header, got.body)
				}
				if took > test.within {
					t.Errorf("it was cut after %s", took)
				}
				if n := b.client.Message.Query().CountX(t.Context()); n > 0 {
					t.Errorf("%d messages are kept", n)
				}
			})
		})
	}
}

// TestSteadyBodyMayTakeLongerThanAMinute is as slow as is allowed.
func TestSteadyBodyMayTakeLongerThanAMinute(t *testing.T) {
	inABubble(t, func(t *testing.T, b *bubble) {
		const length = 76_000
		begun := time.Now()
		conn := b.say(head(length) + "msg=hello&" + strings.Repeat("x", 4000))
		b.drip(conn, length-4010, 1112, time.Second)
		if got := b.answer(conn); got.status != http.StatusCreated || got.body != "Recorded: hello\n" {
			t.Errorf("answered %d %s", got.status, got.body)
		}
		if took := time.Since(begun); took < time.Minute {
			t.Errorf("it took only %s", took)
		}
	})
}

// TestRecordingMayWaitAfterItsBody has a message that waits for longer than a portion of its body may take: from then on, the
// client is not slow.
func TestRecordingMayWaitAfterItsBody(t *testing.T) {
	inABubble(t, func(t *testing.T, b *bubble) {
		conn := b.say(head(10) + "hello")
		time.Sleep(9 * time.Second)
		release := b.hold("before")
		if _, err := io.WriteString(conn, "world"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second)
		release()
		if got := b.answer(conn); got.status != http.StatusCreated {
			t.Errorf("answered %d %s", got.status, got.body)
		}
	})
}

// TestRequestWithoutABodyMayTakeItsTime has one that takes longer than a portion of a body may take.
func TestRequestWithoutABodyMayTakeItsTime(t *testing.T) {
	inABubble(t, func(t *testing.T, b *bubble) {
		left, handler := make(chan error, 1), b.server.Handler
		b.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handler.ServeHTTP(w, r)
			time.Sleep(11 * time.Second)
			left <- r.Context().Err()
		})
		b.answer(b.say("POST /record?msg=hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"))
		if err := <-left; err != nil {
			t.Errorf("its client is taken for one that has left: %v", err)
		}
	})
}

// TestShutdownEndsASteadyBody has one that would come for another minute.
func TestShutdownEndsASteadyBody(t *testing.T) {
	inABubble(t, func(t *testing.T, b *bubble) {
		conn := b.say(head(70_000) + strings.Repeat("x", 5000))
		b.drip(conn, 65_000, 4000, time.Second)
		time.Sleep(4 * time.Second)
		if took := b.shutDown()(); took > inTime {
			t.Errorf("it takes %s", took)
		}
	})
}

// TestLongBodiesTakeTurns has clients that stop in the midst of long bodies, and so take all of the memory that there is for them.
func TestLongBodiesTakeTurns(t *testing.T) {
	inABubble(t, func(t *testing.T, b *bubble) {
		const length = 76_000
		stalled := slices.Repeat([]string{head(length) + strings.Repeat("x", 5000)}, 64<<20/length)
		for _, request := range stalled {
			b.say(request)
		}
		synctest.Wait() // each has its turn
		begun := time.Now()
		short := b.answer(b.say(head(4096) + "msg=short&" + strings.Repeat("x", 4086)))
		if took := time.Since(begun); short.status != http.StatusCreated || took > 0 {
			t.Errorf("a short one is answered %d after %s", short.status, took)
		}
		impatient := b.say(head(length) + strings.Repeat("x", 5000))
		synctest.Wait()
		time.Sleep(6 * time.Second)
		patient := b.say(head(-1) + "7000\r\nmsg=long&" + strings.Repeat("x", 5000))
		refused := b.answer(impatient)
		if refused.status != http.StatusServiceUnavailable || refused.header.Get("Retry-After") == "" || refused.header.Get("Connection") != "close" {
			t.Errorf("who waits for too long is answered %d %v %s", refused.status, refused.header, refused.body)
		}
		time.Sleep(12 * time.Second) // longer than a portion may take; but for the first 4 of them it waits
		if _, err := io.WriteString(patient, strings.Repeat("x", 0x7000-5009)+"\r\n0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if got := b.answer(patient); got.status != http.StatusCreated || got.body != "Recorded: long\n" {
			t.Errorf("who waits for a turn is answered %d %s", got.status, got.body)
		}
	})
}

// TestBusyReaders has all connections for reading in use.
func TestBusyReaders(t *testing.T) {
	inABubble(t, func(t *testing.T, b *bubble) {
		for range max(16, 2*runtime.NumCPU()) {
			tx, err := b.client.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback() //nolint:errcheck
			tx.Message.Query().CountX(t.Context())
		}
		b.isBusy("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	})
}

// TestBusyWriter has somebody record for longer than others wait.
func TestBusyWriter(t *testing.T) {
	inABubble(t, func(t *testing.T, b *bubble) {
		defer b.hold("before")()
		b.isBusy(head(5) + "hello")
	})
}

// isBusy expects that the request waits for a turn, but not for long.
func (b *bubble) isBusy(request string) {
	b.t.Helper()
	begun := time.Now()
	got, took := b.answer(b.say(request)), time.Since(begun)
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") != "1" || took != 5*time.Second {
		b.t.Errorf("answered %d after %s, Retry-After %q: %s", got.status, took, got.header.Get("Retry-After"), got.body)
	}
}

// slowToSearch makes reading the first message take a minute. There are others for the newest page, and for other searches.
func (b *book) slowToSearch() {
	b.t.Helper()
	b.record("slow")
	b.fill(200)
	b.exec("ALTER TABLE messages RENAME TO all_messages")
	b.exec("CREATE VIEW messages AS SELECT * FROM all_messages WHERE id > 1 OR " +
		"(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e9) SELECT max(i) FROM n) = 0")
}

// TestManySearches has more searches than there are turns, and than there are connections to the database. Those that wait leave first:
// the driver may miss that a client leaves in the microseconds in which its search begins.
func TestManySearches(t *testing.T) {
	skipOnPostgreSQL(t)
	b := open(t)
	b.slowToSearch()
	var visitors sync.WaitGroup
	search := func(searches int) (leave context.CancelFunc) {
		ctx, leave := context.WithCancel(t.Context())
		for i := range searches {
			visitors.Go(func() {
				request, err := http.NewRequestWithContext(ctx, "GET", b.url+[]string{"/?q=slow", "/feed?q=slow", "/?all&q=slow"}[i%3], nil)
				if err != nil {
					t.Error(err)
					return
				}
				if response, err := http.DefaultTransport.RoundTrip(request); err == nil {
					response.Body.Close()
					t.Errorf("%s: %s", request.URL, response.Status)
				}
			})
		}
		return leave
	}
	turns, waiting := max(1, runtime.GOMAXPROCS(0)/2), 100
	stopRunning := search(turns)
	b.came.waitFor(t, turns, "q=slow")
	stopWaiting := search(waiting)
	b.came.waitFor(t, turns+waiting, "q=slow")
	if got := b.send("GET", "/", ""); got.status != http.StatusOK {
		t.Errorf("a page is answered %d %s", got.status, got.body)
	}
	stopWaiting()
	b.log.waitFor(t, waiting, "status=499")
	stopRunning()
	visitors.Wait()
	b.log.waitFor(t, turns+waiting, "status=499")
	if log := b.log.String(); strings.Contains(log, "status=503") {
		t.Errorf("they waited after they had left:\n%s", log)
	}
}

// TestSearchThatWaitsTooLong has others take all the turns.
func TestSearchThatWaitsTooLong(t *testing.T) {
	skipOnPostgreSQL(t)
	b := open(t)
	b.slowToSearch()
	ctx, leave := context.WithCancel(t.Context())
	var visitors sync.WaitGroup
	search := func(ctx context.Context) {
		request, _ := http.NewRequestWithContext(ctx, "GET", b.url+"/?q=slow", nil)
		_, _ = http.DefaultTransport.RoundTrip(request)
	}
	turns := max(1, runtime.GOMAXPROCS(0)/2)
	for range turns {
		visitors.Go(func() { search(ctx) })
	}
	b.came.waitFor(t, turns, "q=slow")
	impatient, hangUp := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer hangUp()
	begun := time.Now()
	search(impatient)
	if b.log.waitFor(t, 1, "status=499"); time.Since(begun) > 4*time.Second {
		t.Error("it waits after its client has left")
	}
	for _, path := range []string{"/?q=19", "/feed?q=19", "/?all&q=19&after=190"} {
		visitors.Go(func() {
			if got := b.send("GET", path, ""); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
				t.Errorf("%s: %d %s", path, got.status, got.body)
			}
		})
	}
	b.log.waitFor(t, 3, "status=503")
	leave()
	visitors.Wait()
	for range 10 { // each of which gives its turn back
		for _, path := range []string{"/?q=19", "/feed?q=19", "/?all&q=19&after=190"} {
			if got := b.send("GET", path+"&limit=5", ""); got.status != http.StatusOK {
				t.Errorf("afterwards, %s: %d %s", path, got.status, got.body)
			}
		}
	}
}

// TestSilentConnectionIsClosed has clients that send a part of a header, or nothing after an answer.
func TestSilentConnectionIsClosed(t *testing.T) {
	for request, want := range map[string]time.Duration{
		"GET / HTTP/1.1\r\nHost: local":                    10 * time.Second,
		"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n": 2 * time.Minute,
	} {
		inABubble(t, func(t *testing.T, b *bubble) {
			begun := time.Now()
			_, _ = io.Copy(io.Discard, b.say(request))
			if took := time.Since(begun); took != want {
				t.Errorf("%q: closed after %s", request, took)
			}
		})
	}
}
