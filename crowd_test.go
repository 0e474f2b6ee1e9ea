//go:build unix

package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"daybook/docs/bench/crowd"
)

// TestVisitorsAmongACrowd has a few visitors read and record among thousands of clients that only occupy the server.
func TestVisitorsAmongACrowd(t *testing.T) {
	if race || testing.Short() {
		t.Skip("the race detector takes memory, too, and so does SQLite without cgo, which -short is tested with")
	}
	folder := t.TempDir()
	fillAtOnce(t, folder, 100_000)
	s := serveIn(t, folder, "--listen=127.0.0.1:0")
	leave := crowd.Large.Surround(t.Context(), strings.TrimPrefix(s.url, "http://"))
	defer leave()
	end := time.Now().Add(25 * time.Second) // the slow ones are cut after 10, and come again
	var visitors sync.WaitGroup
	for range 4 {
		visitors.Go(func() {
			conn := s.say("")
			answers := bufio.NewReader(conn)
			for time.Now().Before(end) {
				if err := recordAndList(conn, answers); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	visitors.Wait()
	leave()
	peak := s.peak()
	t.Logf("peak: %d bytes", peak)
	if peak > 150<<20 {
		t.Errorf("the server took %d bytes of memory", peak)
	}
	s.stop(syscall.SIGTERM)
}

// recordAndList sends two requests, which must succeed.
func recordAndList(conn net.Conn, answers *bufio.Reader) error {
	const record = "POST /record HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
	return cmp.Or(ask(conn, answers, record), ask(conn, answers, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
}

// ask sends a request, which must succeed.
func ask(conn net.Conn, answers *bufio.Reader, request string) error {
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	response, err := http.ReadResponse(answers, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("%.40s… is answered %s: %s", request, response.Status, body)
	}
	return err
}
