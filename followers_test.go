//go:build unix

package main

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestUnreadFollowersShareMemory has a thousand that begin at one place, or at a hundred, among many long messages, and read nothing.
func TestUnreadFollowersShareMemory(t *testing.T) {
	if race {
		t.Skip("the race detector takes memory, too")
	}
	for places, most := range map[int]int{1: 100_000_000, 100: 200_000_000} {
		t.Run(fmt.Sprint("places ", places), func(t *testing.T) { followUnread(t, places, most) })
	}
}

func followUnread(t *testing.T, places, most int) {
	folder := t.TempDir()
	path := filepath.Join(folder, "daybook.db")
	makeDatabase(t, path)
	fill(t, path, 400, 64<<10)
	s := serveIn(t, folder, "--listen=127.0.0.1:0")
	small := net.Dialer{Control: func(_, _ string, conn syscall.RawConn) error { // or the kernel would take megabytes for each
		var err error
		if control := conn.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
		}); control != nil {
			return control
		}
		return err
	}}
	begun := time.Now()
	for i := range 1000 {
		conn, err := small.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET /live?after=%d&format=%s HTTP/1.1\r\nHost: localhost\r\n\r\n", i%places, []string{"text", "ndjson", "events"}[i%3])
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begun); took > 9*time.Second {
		t.Logf("the first ones may have been cut off after %s", took)
	}
	peak := s.peak()
	t.Logf("peak: %d bytes", peak)
	if peak > most {
		t.Errorf("the server took %d bytes of memory", peak)
	}
	s.stop(syscall.SIGTERM)
}
