package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// server is a process that serves.
type server struct {
	name    string
	line    []string // its command line
	address string   // host:port
	log     string   // the file that is its standard error: a request log shall cost what it costs
	process *exec.Cmd
	cancel  func()        // tells it to end
	ended   chan struct{} // closed when it has
}

// bare returns Echo alone, with the page at the address, if there is one.
func (b *bench) bare(address string) *server {
	return &server{name: "bare", line: []string{b.self, "bare", address}}
}

// usual returns what one usually writes.
func (b *bench) usual(database string) *server {
	return &server{name: "usual", line: []string{b.self, "usual", b.path(database)}}
}

// ours returns a Daybook.
func (b *bench) ours(database string) *server {
	return &server{name: "ours", line: []string{b.path("daybook"), "--listen=127.0.0.1:0", "--database=" + b.path(database)}}
}

// by has another program run the server.
func (s *server) by(program string) *server {
	s.line = append([]string{program}, s.line...)
	return s
}

// serve starts servers, and waits until each says where it is. They run until stop, or the end of ctx.
func (b *bench) serve(ctx context.Context, servers ...*server) error {
	for _, s := range servers {
		log, err := os.CreateTemp(b.scratch, s.name+"-*.log")
		if err != nil {
			return err
		}
		defer log.Close()
		s.log = log.Name()
		if err := s.start(ctx, log); err != nil {
			return fmt.Errorf("start %s: %w", s.name, err)
		}
		b.running = append(b.running, s)
		if err := s.greeted(); err != nil {
			return s.explain(err)
		}
	}
	return nil
}

// stop ends the servers, and returns when they have ended.
func (b *bench) stop() {
	for _, s := range b.running {
		if s.name == "ours" {
			peak := s.peak()
			fmt.Fprintf(b.progress, "memory: ours %.3g MB\n", float64(peak)/1e6)
			b.peak = max(b.peak, peak)
		}
		s.cancel()
		<-s.ended
	}
	b.running = nil
}

func (s *server) start(ctx context.Context, log *os.File) error {
	ctx, s.cancel = context.WithCancel(ctx)
	s.process = exec.CommandContext(ctx, s.line[0], s.line[1:]...)
	s.process.Stderr = log
	s.process.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "DAYBOOK_") })
	s.process.Cancel = func() error { return s.process.Process.Signal(syscall.SIGTERM) }
	s.process.WaitDelay = 30 * time.Second // after which it is killed
	if err := s.process.Start(); err != nil {
		s.cancel()
		return err
	}
	s.ended = make(chan struct{})
	go func() {
		_ = s.process.Wait() // the small ones die of the signal; if one dies before that, its clients tell
		close(s.ended)
	}()
	return nil
}

// greeting is how a server says where it is.
var greeting = regexp.MustCompile(`http://([0-9.]+:[0-9]+)\s`)

// greeted waits until the server says where it is.
func (s *server) greeted() error {
	for {
		log, err := os.ReadFile(s.log)
		if err != nil {
			return err
		}
		if found := greeting.FindSubmatch(log); found != nil {
			s.address = string(found[1])
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("it has not started: %s", s.process.ProcessState)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// explain adds what the server has said last to an error that it has caused.
func (s *server) explain(err error) error {
	log, _ := os.ReadFile(s.log)
	return fmt.Errorf("%s: %w; its log ends with\n%s", s.name, err, bytes.TrimSpace(log[max(0, len(log)-1000):]))
}

// peak returns the most memory in bytes that the process has had resident, or 0 where no /proc tells.
func (s *server) peak() int { return s.tell("status", "VmHWM: %d kB") << 10 }

// resident returns the memory in bytes that the process has resident now, or 0 where no /proc tells.
func (s *server) resident() int { return s.tell("status", "VmRSS: %d kB") << 10 }

// files returns how many files the process may have open, or 0 where no /proc tells.
func (s *server) files() int { return s.tell("limits", "Max open files %d") }

// tell returns the number in a line of what /proc tells of the process, or 0.
func (s *server) tell(file, line string) (n int) {
	content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.process.Process.Pid, file))
	for l := range strings.Lines(string(content)) {
		if _, err := fmt.Sscanf(l, line, &n); err == nil {
			return n
		}
	}
	return 0
}
