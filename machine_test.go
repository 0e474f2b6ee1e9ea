//go:build linux

package main

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// limitTo limits a resource of the server.
func (s *process) limitTo(resource int, most uint64) {
	s.t.Helper()
	if err := unix.Prlimit(s.command.Process.Pid, resource, &unix.Rlimit{Cur: most, Max: unix.RLIM_INFINITY}, nil); err != nil {
		s.t.Fatal(err)
	}
}

// TestMemoryRunsOut lets a server with visitors, who record messages of half a megabyte, have little more memory than it has. It
// ends, or it refuses them.
func TestMemoryRunsOut(t *testing.T) {
	folder := t.TempDir()
	s := serveIn(t, folder, "--listen=127.0.0.1:0", maxMessage)
	v := visit(t, 8, 1<<19, s)
	v.wait("messages are recorded", v.recorded, 4)
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.command.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, _, _ := strings.Cut(string(statm), " ")
	size, err := strconv.ParseUint(pages, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	s.limitTo(unix.RLIMIT_AS, size*uint64(os.Getpagesize())+8<<20)
	v.wait("messages are refused", func() int { return v.answered() - v.recorded() }, 8)
	v.stop()
	log := s.kill()
	t.Logf("%d recorded, %v; it said %.300s", v.recorded(), v.answers, log[strings.LastIndex(log, "time="):])
	v.after(folder)
}

// TestFilesMayNotGrow has a limit of the size of files, at which a system call writes less than it was asked to. Above it, recording
// goes on.
func TestFilesMayNotGrow(t *testing.T) {
	folder := t.TempDir()
	s := serveIn(t, folder, "--listen=127.0.0.1:0")
	v := visit(t, 8, 1000, s)
	v.wait("messages are recorded", v.recorded, 20)
	for range 3 {
		s.limitTo(unix.RLIMIT_FSIZE, uint64(size(t, filepath.Join(folder, "daybook.db-wal"))+10_000))
		v.wait("messages are refused", func() int { return v.answered() - v.recorded() }, 20)
		s.limitTo(unix.RLIMIT_FSIZE, unix.RLIM_INFINITY)
		v.wait("recording goes on", v.recorded, 20)
	}
	s.kill()
	v.stop()
	t.Logf("%d recorded, %v", v.recorded(), v.answers)
	v.after(folder)
}

// TestServerIsSuspended suspends one of two servers on a file, while each has visitors and a follower: for 2 seconds, or for 20 with
// DAYBOOK_TEST_FAULTS=1. If it has the lock, those of the other one are refused meanwhile.
func TestServerIsSuspended(t *testing.T) {
	pause := 2 * time.Second
	if long {
		pause = 20 * time.Second
	}
	folder := t.TempDir()
	var servers []*process
	var last atomic.Int64
	var followers sync.WaitGroup
	var books [2][]string
	for i := range books {
		servers = append(servers, serveIn(t, folder, "--listen=127.0.0.1:0"))
		followers.Go(func() { books[i] = follow(t, servers[i].url, &last) })
	}
	v := visit(t, 16, 0, servers...)
	v.wait("messages are recorded", v.recorded, 50)
	for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		if err := servers[0].command.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		time.Sleep(pause)
		pause = 0
	}
	v.wait("recording goes on", v.recorded, 100)
	v.stop()
	for answer := range v.answers {
		if !strings.HasPrefix(answer, "POST 503 ") {
			t.Errorf("answered %s", answer)
		}
	}
	v.endFollowers(servers[1].url, folder, &last, &followers, books[:])
	for _, s := range servers {
		s.stop(syscall.SIGTERM)
	}
	t.Logf("%d recorded, %v", v.recorded(), v.answers)
	v.after(folder)
}

// endFollowers records a last message, with which followers end, and compares what they have got with what is stored.
func (v *visitors) endFollowers(url, folder string, last *atomic.Int64, followers *sync.WaitGroup, books [][]string) {
	v.t.Helper()
	driver := openDatabase(v.t, filepath.Join(folder, "daybook.db"))
	last.Store(int64(len(stored(v.t, driver)) + 1)) // nothing was removed
	if status := v.record(url, "plain and last"); status != http.StatusCreated {
		v.t.Errorf("the last one was answered %d", status)
	}
	followers.Wait()
	want := stored(v.t, driver)
	for i, book := range books {
		if !slices.Equal(book, want) {
			v.t.Errorf("follower %d has %d messages of %d%s", i, len(book), len(want), difference(book, want))
		}
	}
}

// stepped makes the wall clock leap: by 2 hours after 3 seconds of the process, and back by 5 hours after 6.
const stepped = `
func stepped(mono int64) int64 {
	switch age := mono - startNano; {
	case age > 6e9:
		return -3 * 3600
	case age > 3e9:
		return 2 * 3600
	}
	return 0
}
`

// TestClockLeaps has the clock leap both ways. No system call that could be changed reads it, so the server is built with another
// time.Now, for which all is compiled anew.
func TestClockLeaps(t *testing.T) {
	if !long {
		t.Skip("DAYBOOK_TEST_FAULTS=1 asks for this: it compiles everything anew")
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const reading = "sec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(source), reading) != 1 {
		t.Fatalf("%s reads the clock in another way", path)
	}
	folder := t.TempDir()
	patched, overlay, program := filepath.Join(folder, "time.go"), filepath.Join(folder, "overlay.json"), filepath.Join(folder, "daybook")
	source = []byte(strings.Replace(string(source), reading, reading+"\tsec += stepped(mono)\n", 1) + stepped)
	for name, content := range map[string][]byte{patched: source, overlay: fmt.Appendf(nil, `{"Replace":{%q:%q}}`, path, patched)} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if output, err := exec.Command("go", "build", "-overlay", overlay, "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	folder = t.TempDir()
	command := daybook(t, folder, "--listen=127.0.0.1:0", "--keep=4h")
	command.Path = program
	s := serveCommand(t, command)
	var last atomic.Int64
	var followers sync.WaitGroup
	var books [1][]string
	followers.Go(func() { books[0] = follow(t, s.url, &last) })
	v := visit(t, 8, 0, s)
	days := map[string]bool{}
	for begun := time.Now(); time.Since(begun) < 10*time.Second; time.Sleep(100 * time.Millisecond) {
		_, recordedAt, _ := strings.Cut(s.get("/?limit=1"), "\t")
		days[recordedAt[:min(13, len(recordedAt))]] = true
	}
	v.stop()
	v.endFollowers(s.url, folder, &last, &followers, books[:])
	if len(v.answers) > 0 {
		t.Errorf("answered %v", v.answers)
	}
	s.stop(syscall.SIGTERM)
	t.Logf("%d recorded, in the hours %v", v.recorded(), slices.Collect(maps.Keys(days)))
	v.after(folder)
}
