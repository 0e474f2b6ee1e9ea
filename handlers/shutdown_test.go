package handlers_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// shutDown begins to shut down. The function that it returns waits until that is done, and returns how long it took.
func (b *bubble) shutDown() (wait func() time.Duration) {
	b.t.Helper()
	var down sync.WaitGroup
	begun := time.Now()
	down.Go(func() {
		if err := b.server.Shutdown(b.t.Context()); err != nil {
			b.t.Error(err)
		}
	})
	synctest.Wait()
	return func() time.Duration {
		down.Wait()
		return time.Since(begun)
	}
}

// inTime is how long a shutdown takes at most, whatever clients do: 5 seconds for them, 2 for the last answers, and what net/http takes
// to notice.
const inTime = 8 * time.Second

// TestShutdownEndsWhatIsStalled has one client at a time that keeps a request running.
func TestShutdownEndsWhatIsStalled(t *testing.T) {
	values := slices.Repeat([]string{strings.Repeat("x", 900)}, 1000)
	for name, test := range map[string]struct {
		request, rest string // the rest is sent during the shutdown
	}{
		"a body":                      {"POST /record HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf", ""},
		"a header":                    {"POST /record HTTP/1.1\r\nHost: localh", ""},
		"a header, and then a body":   {"POST /record HTTP/1.1\r\nHost: localh", "ost\r\nContent-Length: 10\r\n\r\nhalf"},
		"a page":                      {"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", ""},
		"the whole book":              {"GET /?all HTTP/1.1\r\nHost: localhost\r\n\r\n", ""},
		"a stream that is far behind": {"GET /live?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			inABubble(t, func(t *testing.T, b *bubble) {
				b.record(values...)
				conn := b.say(test.request)
				synctest.Wait()
				down := b.shutDown()
				if _, err := io.WriteString(conn, test.rest); err != nil {
					t.Fatal(err)
				}
				if took := down(); took > inTime {
					t.Errorf("it takes %s", took)
				}
			})
		})
	}
}

// TestShutdownEndsWhatIsSlow has a client that goes on reading the whole book for some portions, and then reads no more.
func TestShutdownEndsWhatIsSlow(t *testing.T) {
	inABubble(t, func(t *testing.T, b *bubble) {
		b.record(slices.Repeat([]string{strings.Repeat("x", 64<<10)}, 60)...)
		conn := b.say("GET /?all HTTP/1.1\r\nHost: localhost\r\n\r\n")
		var reading sync.WaitGroup
		reading.Go(func() {
			for _, size := range []int64{2 << 20, 256 << 10, 256 << 10} {
				if _, err := io.CopyN(io.Discard, conn, size); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second)
			}
		})
		synctest.Wait()
		if took := b.shutDown()(); took > inTime {
			t.Errorf("it takes %s", took)
		}
		reading.Wait()
	})
}

// TestShutdownEndsStreamsAtOnce has two that read what they are sent.
func TestShutdownEndsStreamsAtOnce(t *testing.T) {
	inABubble(t, func(t *testing.T, b *bubble) {
		var ended sync.WaitGroup
		for _, accept := range []string{"text/plain", "text/event-stream"} {
			_, body := b.follow("", "Accept: "+accept+"\r\n")
			ended.Go(func() {
				if _, err := io.Copy(io.Discard, body); err != nil {
					t.Errorf("%s ends with %v", accept, err)
				}
			})
		}
		synctest.Wait()
		if took := b.shutDown()(); took > time.Second {
			t.Errorf("it takes %s", took)
		}
		ended.Wait()
	})
}

// TestShutdownEndsConnectionsInOrder has requests that come when the shutdown has begun, but connections are still served. Each is
// answered, and the client is told that its connection ends.
func TestShutdownEndsConnectionsInOrder(t *testing.T) {
	const get, post = "GET / HTTP/1.1\r\nHost: localhost\r\n", "POST /record HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
	for name, test := range map[string]struct {
		request string
		status  int
	}{
		"a page":            {get + "\r\n", 200},
		"nothing new":       {get + "If-None-Match: *\r\n\r\n", 304},
		"an error":          {get + "Accept: image/png\r\n\r\n", 406},
		"HTTP/1.0":          {"GET / HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n", 200},
		"a closing client":  {get + "Connection: close\r\n\r\n", 200},
		"the whole book":    {"GET /?all HTTP/1.1\r\nHost: localhost\r\n\r\n", 200},
		"a stream":          {"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n", 200}, // an EventSource would take an error for final
		"events":            {"GET /live HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n", 200},
		"a message":         {post + "\r\nlate", 201},
		"an expected body":  {post + "Expect: 100-continue\r\n\r\nlate", 201},
		"a refused message": {strings.Replace(post, "4", "99999999", 1) + "\r\n", 413},
		"nobody's address":  {"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n", 404},
	} {
		t.Run(name, func(t *testing.T) {
			inABubble(t, func(t *testing.T, b *bubble) {
				b.begin()
				begun := time.Now()
				answers := bufio.NewReader(b.say(test.request))
				response, err := http.ReadResponse(answers, nil)
				if err == nil && response.StatusCode == http.StatusContinue {
					response, err = http.ReadResponse(answers, nil)
				}
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != test.status || !response.Close {
					t.Errorf("answered %d, %v, %v", response.StatusCode, response.Header, err)
				}
				if _, err := answers.ReadByte(); err != io.EOF {
					t.Errorf("after the answer: %v", err)
				}
				if took := time.Since(begun); took > time.Second {
					t.Errorf("it takes %s", took)
				}
			})
		})
	}
}

// TestShutdownFinishesWhatIsBeingRecorded has a message that is recorded for longer than clients are waited for: it has to wait for
// the one before it and shares its commit with the one after it. All of it comes before the shutdown, or its end comes during that.
func TestShutdownFinishesWhatIsBeingRecorded(t *testing.T) {
	for _, late := range []string{"", "late"} {
		inABubble(t, func(t *testing.T, b *bubble) {
			release := b.hold("before")
			conn := b.say(fmt.Sprintf("POST /record HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\nvery", len("very"+late)))
			synctest.Wait()
			wait := b.shutDown()
			time.Sleep(4 * time.Second)
			if _, err := io.WriteString(conn, late); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			var after sync.WaitGroup
			after.Go(func() {
				release := b.hold("after")
				time.Sleep(2 * time.Second)
				release()
			})
			synctest.Wait()
			release()
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(response.Body); err != nil || string(body) != "Recorded: very"+late+"\n" {
				t.Errorf("answered %d %q, %v", response.StatusCode, body, err)
			}
			if took := wait(); took < 5*time.Second || took > inTime {
				t.Errorf("it takes %s", took)
			}
			after.Wait()
			if n := b.client.Message.Query().CountX(t.Context()); n != 3 {
				t.Errorf("%d messages are kept", n)
			}
		})
	}
}

// hold records a message in a transaction that lets nobody else record until it is released.
func (b *bubble) hold(value string) (release func()) {
	tx, err := b.client.Tx(b.t.Context())
	if err != nil {
		b.t.Error(err)
		return func() {}
	}
	tx.Message.Create().SetValue(value).ExecX(b.t.Context())
	return func() {
		if err := tx.Commit(); err != nil {
			b.t.Error(err)
		}
	}
}

// TestShutdownAnswersWhoseBodyDoesNotCome says why nothing was recorded.
func TestShutdownAnswersWhoseBodyDoesNotCome(t *testing.T) {
	inABubble(t, func(t *testing.T, b *bubble) {
		conn := b.say("POST /record HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nvery")
		synctest.Wait()
		wait := b.shutDown()
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusBadRequest {
			t.Errorf("answered %d, %v", response.StatusCode, err)
		}
		if took := wait(); took > 6*time.Second {
			t.Errorf("it takes %s", took)
		}
	})
}

// TestShutdownFinishesWhatWaitsForALock has another process hold the lock when the shutdown begins.
func TestShutdownFinishesWhatWaitsForALock(t *testing.T) {
	b := open(t)
	unlock := b.lock()
	var recording, down sync.WaitGroup
	recording.Go(func() { b.record("hello") })
	b.came.waitFor(t, 1, "POST /record")
	down.Go(func() {
		if err := b.server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
	for { // until it has begun
		conn, err := net.Dial("tcp", b.addr)
		if err != nil {
			break
		}
		conn.Close()
	}
	unlock()
	recording.Wait()
	down.Wait()
	if got := b.values(); len(got) != 1 || got[0] != "hello" {
		t.Errorf("the book holds %q", got)
	}
}
