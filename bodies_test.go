//go:build unix

package main

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStalledBodiesTakeLittleMemory has a thousand clients that send most of a long message, and stop.
func TestStalledBodiesTakeLittleMemory(t *testing.T) {
	if race {
		t.Skip("the race detector takes memory, too")
	}
	s := serveIn(t, t.TempDir(), "--listen=127.0.0.1:0")
	const length = 400_000
	stalled := fmt.Sprintf("POST /record HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"+
		"Content-Length: %d\r\n\r\nmsg=x&%s", length, strings.Repeat("x", length-1000))
	begun, slowest := time.Now(), time.Duration(0)
	for i := range 1000 {
		conn := s.say("")
		go func() { _, _ = conn.Write([]byte(stalled)) }() // until the server or the test closes it
		if i%100 == 0 {
			posted := time.Now()
			if status, body := s.post("short"); status != http.StatusCreated {
				t.Fatalf("a short message is answered %d %s", status, body)
			}
			slowest = max(slowest, time.Since(posted))
		}
	}
	t.Logf("all are there after %s; the slowest short message took %s", time.Since(begun), slowest)
	for limit := time.Now().Add(time.Minute); ; {
		if status, body := s.post(strings.Repeat("x", 60_000)); status == http.StatusCreated {
			break
		} else if status != http.StatusServiceUnavailable || time.Now().After(limit) {
			t.Fatalf("afterwards, a long message is answered %d %s", status, body)
		}
	}
	t.Logf("a long message is recorded after %s", time.Since(begun))
	peak := s.peak()
	t.Logf("peak: %d bytes", peak)
	if peak > 350_000_000 {
		t.Errorf("the server took %d bytes of memory", peak)
	}
	s.stop(syscall.SIGTERM)
}
