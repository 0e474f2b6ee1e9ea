//go:build linux

package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFileDescriptorsRunOut has more clients than the server may open files.
func TestFileDescriptorsRunOut(t *testing.T) {
	const files, clients = 256, 400
	s := serveIn(t, t.TempDir(), "--listen=127.0.0.1:0")
	if err := unix.Prlimit(s.command.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: files}, nil); err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	for range clients {
		conns = append(conns, s.say(""))
	}
	for limit := time.Now().Add(10 * time.Second); s.files() < files; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("the server has %d files open", s.files())
		}
	}
	var visitors sync.WaitGroup
	for _, conn := range conns[:100] { // which are connected
		visitors.Go(func() {
			answers := bufio.NewReader(conn)
			for range 5 {
				if err := recordAndList(conn, answers); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	visitors.Wait()
	for _, conn := range conns {
		conn.Close()
	}
	if status, body := s.post("afterwards"); status != http.StatusCreated {
		t.Errorf("afterwards, a message is answered %d %s", status, body)
	}
	if n := strings.Count(s.stop(syscall.SIGTERM), "too many open files"); n < 1 || n > 30 {
		t.Errorf("the log says it %d times", n)
	}
}

// files returns how many files the server has open.
func (s *process) files() int {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.command.Process.Pid))
	if err != nil {
		s.t.Error(err)
	}
	return len(open)
}
