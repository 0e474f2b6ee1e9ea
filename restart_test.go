//go:build unix

package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestStopUnderLoadResetsNobody stops it ten times while 64 clients record and read.
func TestStopUnderLoadResetsNobody(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	var load load
	for range 10 {
		s := serveIn(t, folder, "--listen=127.0.0.1:0")
		load.begin(t, strings.TrimPrefix(s.url, "http://"))
		load.waitFor(t, 300)
		begun := time.Now()
		s.stop(syscall.SIGTERM)
		if took := time.Since(begun); took > 5*time.Second { // which are for clients that are slow
			t.Errorf("the stop took %s", took)
		}
		load.end(t, syscall.ECONNREFUSED)
	}
	load.check(t, serveIn(t, folder, "--listen=127.0.0.1:0"))
}

// TestRestartWithItsSocketRefusesNobody restarts it 20 times as systemd does, which keeps the socket.
func TestRestartWithItsSocketRefusesNobody(t *testing.T) {
	socket, addr := passed(t, "tcp", "127.0.0.1:0")
	folder := t.TempDir()
	var load load
	s := serveCommand(t, withSockets(t, daybook(t, folder), socket))
	load.begin(t, addr.String())
	for range 20 {
		load.waitFor(t, 200)
		s.stop(syscall.SIGTERM)
		s = serveCommand(t, withSockets(t, daybook(t, folder), socket))
	}
	load.waitFor(t, 200)
	load.end(t, nil)
	load.check(t, s)
}

// TestStopWithoutClientsIsImmediate has nobody to wait for.
func TestStopWithoutClientsIsImmediate(t *testing.T) {
	s := serveIn(t, t.TempDir(), "--listen=127.0.0.1:0")
	s.list()
	http.DefaultClient.CloseIdleConnections()
	begun := time.Now()
	s.stop(os.Interrupt)
	if took := time.Since(begun); took > time.Second && !race { // the race detector ends a process after a second
		t.Errorf("the stop took %s", took)
	}
}

// TestSecondSignalStopsAtOnce has a request whose body never comes.
func TestSecondSignalStopsAtOnce(t *testing.T) {
	s := serveIn(t, t.TempDir(), "--listen=127.0.0.1:0")
	s.say("POST /record HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf")
	s.list()
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for closing := false; !closing; { // it has begun to stop
		response, err := http.Get(s.url)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		closing = response.Close
	}
	begun := time.Now()
	for ended := false; !ended; { // again and again, since the first one may not be through
		_ = s.command.Process.Signal(syscall.SIGTERM) // fails if it has ended
		select {
		case <-s.log:
			ended = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	if err := s.command.Wait(); err == nil || time.Since(begun) > 3*time.Second {
		t.Errorf("after %s it ended with %v", time.Since(begun), err)
	}
}

// load is clients that record and read.
type load struct {
	stop    context.CancelFunc
	clients sync.WaitGroup

	mu       sync.Mutex
	answers  int
	recorded []string // the messages that were acknowledged
	errs     []error
}

// begin begins with 64 clients: some keep their connection, some have a new one for each request, and some send 100 at a time: more than net/http reads ahead.
func (l *load) begin(t *testing.T, address string) {
	ctx, stop := context.WithCancel(t.Context())
	l.stop = stop
	for i := range 64 {
		batch, keep := []int{1, 1, 100}[i%3], i%3 != 0
		l.clients.Go(func() {
			for ctx.Err() == nil {
				if err := l.connect(ctx, address, batch, keep); err != nil {
					l.mu.Lock()
					l.errs = append(l.errs, err)
					l.mu.Unlock()
					return
				}
			}
		})
	}
}

// connect sends requests on one connection, a batch at a time, until the server says that it closes the connection. What it has not
// answered by then it has not read (RFC 9112, section 9.6).
func (l *load) connect(ctx context.Context, address string, batch int, keep bool) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for ctx.Err() == nil {
		values := make([]string, batch) // "" is a request that reads
		requests := ""
		for i := range values {
			request := "GET /?limit=5 HTTP/1.1\r\nHost: localhost\r\n\r\n"
			if values[i] = rand.Text(); values[i] < "M" {
				values[i] = ""
			} else {
				request = fmt.Sprintf("POST /record HTTP/1.1\r\nHost: localhost\r\nContent-Length: 26\r\n\r\n%s", values[i])
			}
			requests += request
		}
		if _, err := io.WriteString(conn, requests); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		for i, value := range values {
			last, err := l.answer(answers, value)
			if err != nil {
				return fmt.Errorf("answer %d of %d: %w", i+1, batch, err)
			}
			if last {
				return nil
			}
		}
		if !keep {
			return nil
		}
	}
	return nil
}

// answer takes an answer, which must be good, to a request that records a value. If it is the last one, nothing may come after it.
func (l *load) answer(answers *bufio.Reader, value string) (last bool, err error) {
	response, err := http.ReadResponse(answers, nil)
	if err != nil {
		return false, err
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return false, fmt.Errorf("its body: %w", err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		return false, fmt.Errorf("%s: %s", response.Status, body)
	}
	l.mu.Lock()
	l.answers++
	if value != "" {
		l.recorded = append(l.recorded, value)
	}
	l.mu.Unlock()
	if response.Close {
		if _, err := answers.ReadByte(); err != io.EOF {
			return true, fmt.Errorf("after it: %w", err)
		}
	}
	return response.Close, nil
}

// waitFor waits for more answers.
func (l *load) waitFor(t *testing.T, answers int) {
	t.Helper()
	count := func() (answers, errs int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.answers, len(l.errs)
	}
	before, _ := count()
	for limit := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		now, errs := count()
		if now >= before+answers || errs > 0 {
			return // end tells the errors
		}
		if time.Now().After(limit) {
			t.Fatalf("%d answers in 20 seconds", now-before)
		}
	}
}

// end ends the load, or waits until each client meets an error that it must meet.
func (l *load) end(t *testing.T, must error) {
	t.Helper()
	if must == nil {
		l.stop()
	}
	l.clients.Wait()
	l.stop()
	for _, err := range l.errs {
		if must == nil || !errors.Is(err, must) {
			t.Error(err)
		}
	}
	l.errs = nil
}

// check compares what was acknowledged with what is there.
func (l *load) check(t *testing.T, s *process) {
	t.Helper()
	response, err := http.Get(s.url + "/?all")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var values []string
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		values = append(values, lines.Text()[strings.LastIndexByte(lines.Text(), '\t')+1:])
	}
	slices.Sort(values)
	slices.Sort(l.recorded)
	if !slices.Equal(values, l.recorded) {
		t.Errorf("%d messages were acknowledged, %d are there%s", len(l.recorded), len(values), difference(values, l.recorded))
	}
	t.Logf("%d answers, %d messages", l.answers, len(l.recorded))
	s.stop(syscall.SIGTERM)
}
