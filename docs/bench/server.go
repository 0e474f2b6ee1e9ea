package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// server is a process that serves.
type server struct {
	address string // host:port
	log     string // the file that has its output
	process *exec.Cmd
}

// greeting is the address in what a server says first.
var greeting = regexp.MustCompile(`(127\.0\.0\.1:\d+)\s`)

// start runs a server until ctx ends, and returns it when it has said where it is.
func (b *bench) start(ctx context.Context, library, program string, args ...string) *server {
	s := &server{process: exec.CommandContext(ctx, program, args...)}
	log, err := os.CreateTemp(b.scratch, "*.log")
	if b.fail(err); b.err != nil {
		return s
	}
	defer log.Close()
	s.log, s.process.Stdout, s.process.Stderr = log.Name(), log, log
	s.process.Env = append(os.Environ(), "LD_PRELOAD="+library)
	s.process.Cancel = func() error { return s.process.Process.Signal(syscall.SIGTERM) }
	s.process.WaitDelay = 30 * time.Second // then it is killed
	if b.fail(s.process.Start()); b.err != nil {
		return s
	}
	b.running.Go(func() { _ = s.process.Wait() }) // a signal ends it; if it ends before, its clients fail
	for begin := time.Now(); ctx.Err() == nil && time.Since(begin) < 30*time.Second; time.Sleep(5 * time.Millisecond) {
		content, _ := os.ReadFile(s.log)
		if found := greeting.FindSubmatch(content); found != nil {
			s.address = string(found[1])
			return s
		}
	}
	b.fail(s.explain(errors.New("a server has not started")))
	return s
}

// explain adds the end of the server's log to an error.
func (s *server) explain(err error) error {
	log, _ := os.ReadFile(s.log)
	return fmt.Errorf("%w; the log of %s ends with\n%s", err, s.process, bytes.TrimSpace(log[max(0, len(log)-1000):]))
}

// proc returns the number after a name in a file in /proc about the server, or NaN if there is none.
func (s *server) proc(file, name string) float64 {
	content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.process.Process.Pid, file))
	_, rest, _ := strings.Cut(string(content), name)
	n := math.NaN()
	_, _ = fmt.Sscan(rest, &n)
	return n
}
