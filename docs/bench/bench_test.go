package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the small servers, too.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && (os.Args[1] == "bare" || os.Args[1] == "usual") {
		main()
	}
	os.Exit(m.Run())
}

// TestRun measures everything, briefly, and looks at what is written but not at how fast anything is.
func TestRun(t *testing.T) {
	s, left := prepare(t)
	if err := run(t.Context(), s, t.Output()); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(s.folder, "benchmarks.md"))
	if err != nil {
		t.Fatal(err)
	}
	document := string(content)
	for _, start := range []string{
		"# Benchmarks\n",
		"| `POST /record`, 4 connections | at least 7 × the usual |",
		"| `POST /record`, 4 connections | at least 40 % of Echo alone |",
		"| `POST /record`, 4 connections, 99th percentile | at most 1/20 of the usual |",
		"| `POST /record`, 1 connection | at least 1 × the usual |",
		"| `POST /record`, 4 connections, each flush 2 ms longer | at least 20 × the usual |",
		"| `GET /` while 4 connections record | at least 50 % of that while none do |",
		"| `GET /` as text, 5,000 messages | at least 80 % of that with 1,000 |",
		"| `GET /` as HTML, 5,000 messages | at least 80 % of that with 1,000 |",
		"| `GET /` as text | at least 20 % of the same bytes from memory |",
		"| `GET /` as HTML | at least 20 % of the same bytes from memory |",
		"| `GET /?q=`, 9,000 messages, the slowest search | at most 200 ms |",
		"| `GET /?q=`, 9,000 messages, a frequent search | at most 10 ms |",
		"| `GET /live`, 20 listeners, memory apiece | at most 48 KB |",
		"| `GET /live`, 20 listeners, until the last has a message | at most 1,000 ms |",
		"| `GET /?all` as text, 9,000 messages | at least 20 % of the sqlite3 command |",
		"| `GET /?all` as NDJSON, 9,000 messages | at least 20 % of the sqlite3 command |",
		"| `GET /?all` as JSON, 9,000 messages | at least 20 % of the sqlite3 command |",
		"| Memory, sending these | below 60 MB |",
		"| Memory, at the most | below 60 MB |",
		"| 1 |", "| 2 |", "| 4 |",
	} {
		if n := strings.Count("\n"+document, "\n"+start); n != 1 {
			t.Errorf("%d lines begin with %q", n, start)
		}
	}
	for _, wrong := range []string{"NaN", "Inf", s.folder, os.TempDir()} {
		if strings.Contains(document, wrong) {
			t.Errorf("the document has %q:\n%s", wrong, document)
		}
	}
	checkPlot(t, filepath.Join(s.folder, "benchmarks.svg"))
	left()
}

// TestTablesAreReplaced sees that the second run's tables stand in place of the first one's.
func TestTablesAreReplaced(t *testing.T) {
	b := &bench{settings: settings{folder: folder(t), connections: []int{1, 2}, many: 2}, findings: findings{flush: time.Second}}
	one := result{1, time.Second}
	b.points = []point{{1, one, one, one}, {2, one, one, one}}
	for range 2 {
		if err := b.write(); err != nil {
			t.Fatal(err)
		}
	}
	content, err := b.document()
	if err != nil || bytes.Count(content, []byte("\n| What |")) != 1 {
		t.Errorf("%v\n%s", err, content)
	}
}

// TestInterruptedRun ends a run when it has measured for the first time, and all its servers are there.
func TestInterruptedRun(t *testing.T) {
	s, left := prepare(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := run(ctx, s, writerFunc(func(progress []byte) (int, error) {
		cancel()
		return len(progress), nil
	}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	left()
}

func TestWrongAnswerFailsTheMeasurement(t *testing.T) {
	wrong := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the disk is full", http.StatusInsufficientStorage)
	}))
	defer wrong.Close()
	s := &server{name: "wrong", address: wrong.Listener.Addr().String()}
	_, err := measure(t.Context(), time.Hour, []load{post(s, 4)})
	for _, want := range []string{"wrong: ", "507 Insufficient Storage", "the disk is full"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("it ended with %v, without %q", err, want)
		}
	}
}

func TestListenerThatIsCutOffFailsTheMeasurement(t *testing.T) {
	short := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusCreated)
			return
		}
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, ":\n\n")
	}))
	defer short.Close()
	ctx, fail := context.WithCancelCause(t.Context())
	defer fail(nil)
	a := &audience{server: &server{address: short.Listener.Addr().String()}, heard: make(chan struct{}, 1), fail: fail}
	if err := a.join(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := a.tell(ctx); err == nil || err.Error() != "a listener: EOF" {
		t.Errorf("it ended with %v", err)
	}
}

func TestServerThatDoesNotStart(t *testing.T) {
	b := &bench{scratch: t.TempDir(), self: os.Args[0]}
	defer b.stop()
	err := b.serve(t.Context(), b.usual("none/at-all.db"))
	if err == nil || !strings.Contains(err.Error(), "usual: it has not started: exit status 1; its log ends with\nbench: ") {
		t.Errorf("it ended with %v", err)
	}
}

// prepare returns settings for a short run, and a function that sees that nothing is left of it.
func prepare(t *testing.T) (s settings, left func()) {
	t.Helper()
	if !cgo {
		t.Skip("the usual SQLite driver needs cgo")
	}
	temporary, mark := t.TempDir(), "BENCH_TEST="+t.TempDir()
	t.Setenv("TMPDIR", temporary)
	t.Setenv("BENCH_TEST", strings.TrimPrefix(mark, "BENCH_TEST=")) // which its processes inherit
	s = settings{
		messages: 5000, whole: 9000, listeners: 20, window: 250 * time.Millisecond, rounds: 2,
		connections: []int{1, 2, 4}, many: 4, folder: folder(t),
	}
	return s, func() {
		t.Helper()
		if files, err := os.ReadDir(temporary); err != nil || len(files) > 0 {
			t.Errorf("files are left: %v %v", files, err)
		}
		for limit := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			processes := running(t, mark)
			if len(processes) == 0 {
				return
			}
			if time.Now().After(limit) {
				t.Fatalf("processes are left: %q", processes)
			}
		}
	}
}

// folder returns a folder that has the document.
func folder(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile("../benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "benchmarks.md"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// running returns the command lines of the processes with a variable in their environment, where there is a /proc.
func running(t *testing.T, variable string) (lines []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		environment, _ := os.ReadFile(file) // it may have ended
		if bytes.Contains(environment, []byte(variable+"\x00")) {
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
			lines = append(lines, string(line))
		}
	}
	return lines
}

// checkPlot sees that the file is well-formed, and has six lines and no number that is none.
func checkPlot(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for decoder := xml.NewDecoder(bytes.NewReader(content)); ; {
		token, err := decoder.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if element, ok := token.(xml.StartElement); ok && element.Name.Local == "polyline" {
			lines++
		}
	}
	if lines != 6 || bytes.Contains(content, []byte("NaN")) || bytes.Contains(content, []byte("Inf")) {
		t.Errorf("%d lines:\n%s", lines, content)
	}
}

// writerFunc is an io.Writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
