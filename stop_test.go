//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"daybook/database"
	"daybook/ent"
)

// TestStopWaitsForNoStalledClient has clients that send no more, or take no more, and one that is slow, but records. The server ends
// well, and soon.
func TestStopWaitsForNoStalledClient(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "daybook.db")
	makeDatabase(t, path)
	fill(t, path, 400, 64<<10) // more than lies between the server and a client
	s := serveIn(t, folder, "--listen=127.0.0.1:0")
	for _, stalled := range []string{
		"POST /record HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf",
		"GET /?all HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /live?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /live HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n",
		"POST /record HTTP/1.1\r\nHost: localh", // not even its header is whole
	} {
		s.say(stalled)
	}
	pipelined := s.say(strings.Repeat("GET /?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n", 100))
	if _, err := pipelined.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	slow := s.say("POST /record HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
	answers := bufio.NewReader(slow)
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("%q %v", line, err) // now all are being served
	}
	if _, err := answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, letter := range "late" {
		time.Sleep(500 * time.Millisecond) // it is a slow client
		fmt.Fprintf(slow, "%c", letter)
	}
	response, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "Recorded: late\n" {
		t.Errorf("the slow one is answered %d %q, %v", response.StatusCode, body, err)
	}
	s.wait()
	if took := time.Since(begun); took > 8*time.Second {
		t.Errorf("the server took %s to stop", took)
	}
	again := serveIn(t, folder, "--listen=127.0.0.1:0")
	defer again.stop(syscall.SIGTERM)
	if list := again.list(); !strings.HasSuffix(list, "\tlate\n") {
		t.Error("the slow one's message was not kept")
	}
}

// say sends to the server on a connection of its own, which stays open.
func (s *process) say(what string) net.Conn {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, what); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// fill records messages of as many bytes.
func fill(t *testing.T, path string, messages, size int) {
	t.Helper()
	driver, err := database.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	client := ent.NewClient(ent.Driver(driver))
	defer client.Close()
	value := strings.Repeat("x", size)
	client.Message.MapCreateBulk(make([]int, messages), func(create *ent.MessageCreate, _ int) {
		create.SetValue(value)
	}).ExecX(t.Context())
}
