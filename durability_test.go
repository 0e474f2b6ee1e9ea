//go:build unix

package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	entsql "entgo.io/ent/dialect/sql"
)

// TestKilledServerKeepsWhatItAcknowledged kills the server at a random moment while many record, starts it again, and
// compares: 20 times, or DAYBOOK_TEST_CRASHES times.
func TestKilledServerKeepsWhatItAcknowledged(t *testing.T) {
	rounds := 20
	if n, err := strconv.Atoi(os.Getenv("DAYBOOK_TEST_CRASHES")); err == nil {
		rounds = n
	}
	folder := t.TempDir()
	acknowledged := map[string]bool{}
	for round := range rounds {
		s := serveIn(t, folder, "--listen=127.0.0.1:0", "--log=json")
		s.recordUntilKilled(round, 1+rand.IntN(300), acknowledged)
		checkBook(t, filepath.Join(folder, "daybook.db"), acknowledged)
	}
	t.Logf("%d rounds, %d messages acknowledged", rounds, len(acknowledged))
}

// recordUntilKilled has 16 clients record, kills the server when so many were told that they have, and adds those and
// whoever was told in the meantime to acknowledged.
func (s *process) recordUntilKilled(round, enough int, acknowledged map[string]bool) {
	s.t.Helper()
	var mu sync.Mutex
	told := 0
	var clients sync.WaitGroup
	for client := range 16 {
		clients.Go(func() {
			for i := 0; ; i++ {
				value := fmt.Sprint(round, " ", client, " ", i)
				response, err := http.Post(s.url+"/record", "text/plain", strings.NewReader(value))
				if err != nil {
					return // it is dead
				}
				response.Body.Close()
				if response.StatusCode != http.StatusCreated {
					s.t.Errorf("%q was answered %d", value, response.StatusCode)
				}
				mu.Lock()
				acknowledged[value] = true
				if told++; told == enough {
					if err := s.command.Process.Kill(); err != nil {
						s.t.Error(err)
					}
				}
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	<-s.log
	_ = s.command.Wait() // killed
	http.DefaultClient.CloseIdleConnections()
}

// checkBook sees that the database is whole, and holds each acknowledged message once.
func checkBook(t *testing.T, path string, acknowledged map[string]bool) {
	t.Helper()
	times, err := readBook(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for value := range acknowledged {
		if times[value] != 1 {
			t.Fatalf("%q was acknowledged, and is there %d times", value, times[value])
		}
	}
}

// readBook opens the database as a start does, and returns how often it has each message, or an error if it is not whole.
func readBook(ctx context.Context, path string) (times map[string]int, err error) {
	driver, err := (&commandLine{Database: path}).openDatabase(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer driver.Close()
	read := func(query string) (values []string, err error) {
		var rows entsql.Rows
		if err = driver.Query(ctx, query, []any{}, &rows); err == nil {
			err = entsql.ScanSlice(rows, &values)
		}
		return values, err
	}
	if result, err := read("PRAGMA integrity_check"); err != nil || len(result) != 1 || result[0] != "ok" {
		return nil, fmt.Errorf("integrity check: %q, %v", result, err)
	}
	values, err := read("SELECT value FROM messages")
	times = map[string]int{}
	for _, value := range values {
		times[value]++
	}
	return times, err
}

// trace has strace write the system calls of a command to a file.
func trace(t *testing.T, command *exec.Cmd, calls string, options ...string) {
	t.Helper()
	strace := need(t, "strace")
	// -D makes the command, not strace, the process that is started, and signalled.
	command.Args = slices.Concat([]string{strace, "-D", "-f", "-o", calls}, options, command.Args)
	command.Path = strace
}

// TestFlushComesBeforeTheAnswer watches the system calls of a server that is asked to record one message after another: before
// each 201 that is written there is a flush of its own.
func TestFlushComesBeforeTheAnswer(t *testing.T) {
	folder := t.TempDir()
	calls := filepath.Join(folder, "calls")
	command := daybook(t, folder, "--listen=127.0.0.1:0")
	trace(t, command, calls, "-e", "trace=fsync,fdatasync,write", "-s", "12")
	s := serveCommand(t, command)
	for i := range 20 {
		if status, body := s.post(fmt.Sprint(i)); status != http.StatusCreated {
			t.Fatalf("answered %d %q", status, body)
		}
	}
	s.stop(syscall.SIGTERM)

	const answer = `"HTTP/1.1 201`
	var log []byte
	for limit := time.Now().Add(10 * time.Second); strings.Count(string(log), answer) < 20; time.Sleep(time.Millisecond) {
		var err error
		if log, err = os.ReadFile(calls); err != nil || time.Now().After(limit) {
			t.Fatalf("strace has not seen 20 answers: %v\n%s", err, log)
		}
	}
	answers, flushed := 0, false
	for line := range strings.Lines(string(log)) {
		switch {
		case strings.Contains(line, "sync") && strings.Contains(line, "= 0"): // it has returned
			flushed = true
		case strings.Contains(line, answer):
			if answers++; !flushed {
				t.Errorf("answer %d was written before a flush", answers)
			}
			flushed = false
		}
	}
}

// TestFullFileSystem records until nothing fits any more, makes room, and records again.
func TestFullFileSystem(t *testing.T) {
	folder := t.TempDir()
	mount := func(options string) error {
		return exec.Command("mount", "-t", "tmpfs", "-o", options, "tmpfs", folder).Run()
	}
	if err := mount("size=3m"); err != nil {
		t.Skipf("a small file system cannot be mounted here, for which one has to be root on Linux: %v", err)
	}
	defer func() {
		// Lazily: the files of a process that has ended may be closed a moment later.
		if err := exec.Command("umount", "--lazy", folder).Run(); err != nil {
			t.Error(err)
		}
	}()
	s := serveIn(t, folder, "--listen=127.0.0.1:0")
	var mu sync.Mutex
	acknowledged, refused := map[string]bool{}, 0
	var clients sync.WaitGroup
	for client := range 8 {
		clients.Go(func() {
			for i := range 20 {
				value := fmt.Sprint(client, " ", i, strings.Repeat(".", 60_000))
				status, body := s.post(value)
				mu.Lock()
				switch status {
				case http.StatusCreated:
					acknowledged[value] = true
				case http.StatusInsufficientStorage:
					refused++
				default:
					t.Errorf("answered %d %s", status, body)
				}
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	if len(acknowledged) == 0 || refused == 0 {
		t.Fatalf("%d were recorded, %d refused", len(acknowledged), refused)
	}
	if err := mount("remount,size=30m"); err != nil {
		t.Fatal(err)
	}
	if status, body := s.post("again"); status != http.StatusCreated {
		t.Errorf("with room again, it answered %d %s", status, body)
	}
	acknowledged["again"] = true
	s.stop(syscall.SIGTERM)
	checkBook(t, filepath.Join(folder, "daybook.db"), acknowledged)
}

// TestTwoServersOnOneFile has two processes record in one database at once. Each waits for the other, and nobody is refused.
func TestTwoServersOnOneFile(t *testing.T) {
	folder := t.TempDir()
	acknowledged := map[string]bool{}
	var mu sync.Mutex
	var clients sync.WaitGroup
	servers := [2]*process{}
	for i := range servers {
		servers[i] = serveIn(t, folder, "--listen=127.0.0.1:0")
		for client := range 8 {
			clients.Go(func() {
				for n := range 200 {
					value := fmt.Sprint(i, " ", client, " ", n)
					begun := time.Now()
					if status, body := servers[i].post(value); status != http.StatusCreated {
						t.Errorf("after %s, answered %d %s", time.Since(begun), status, body)
						return
					}
					mu.Lock()
					acknowledged[value] = true
					mu.Unlock()
				}
			})
		}
	}
	clients.Wait()
	for _, s := range servers {
		s.stop(syscall.SIGTERM)
	}
	checkBook(t, filepath.Join(folder, "daybook.db"), acknowledged)
}
