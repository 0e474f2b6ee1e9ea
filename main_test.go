//go:build unix

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"daybook/database"
	"daybook/database/databasetest"
	"daybook/ent/migrations"
)

// TestMain lets the test binary be daybook, too: the tests run it as a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("DAYBOOK_TEST_MAIN") == "1" {
		main()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// daybook returns the command with the arguments, to run in an empty folder. The last ones may be environment variables.
func daybook(t *testing.T, folder string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute+soakTime())
	command := exec.CommandContext(ctx, os.Args[0])
	t.Cleanup(func() {
		cancel()
		if command.Process != nil {
			_ = command.Process.Kill() // fails if it has ended; cancel does it later, when the tests may have ended
		}
	})
	command.Dir = folder
	command.Env = append(os.Environ(), "DAYBOOK_TEST_MAIN=1", "GORACE=atexit_sleep_ms=0") // with the race detector, an end takes a second
	for _, arg := range args {
		if strings.HasPrefix(arg, "DAYBOOK_") {
			command.Env = append(command.Env, arg)
		} else {
			command.Args = append(command.Args, arg)
		}
	}
	return command
}

// packageOf has the package of a program that has another name.
var packageOf = map[string]string{"script": "bsdutils", "systemd-analyze": "systemd", "ip": "iproute2"}

// need finds a program that a test drives. Without it the test is skipped, or fails if DAYBOOK_TEST_STRICT=1. With -short it is always
// skipped.
func need(t *testing.T, program string) string {
	t.Helper()
	if testing.Short() {
		t.Skipf("-short: this drives %s", program)
	}
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	message := fmt.Sprintf("there is no %s here; install it, for example with: apt-get install %s", program, cmp.Or(packageOf[program], program))
	if os.Getenv("DAYBOOK_TEST_STRICT") == "1" {
		t.Fatal(message)
	}
	t.Skip(message)
	return ""
}

// address finds where a server says that it is.
var address = regexp.MustCompile(`Daybook (?:is at|listens on) ([^\s"]+)`)

// process is a daybook that serves.
type process struct {
	t        *testing.T
	command  *exec.Cmd
	greeting string      // the line that says where it is
	url      string      // from the greeting
	hint     string      // the line that says what to try
	log      chan string // what came after that, when it has ended
}

// serveIn starts a server in the folder and waits until it says where it is.
func serveIn(t *testing.T, folder string, args ...string) *process {
	t.Helper()
	return serveCommand(t, daybook(t, folder, args...))
}

func serveCommand(t *testing.T, command *exec.Cmd) *process {
	t.Helper()
	pipe, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	stderr := bufio.NewReader(pipe)
	var where []string
	greeting := ""
	for said := ""; where == nil; { // an upgrade is logged before
		line, err := stderr.ReadString('\n')
		if said += line; err != nil {
			t.Fatalf("it has not started: %s", said)
		}
		greeting, where = line, address.FindStringSubmatch(line)
	}
	hint, err := stderr.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	s := &process{t, command, greeting, where[1], hint, make(chan string, 1)}
	go func() { // or the log would block the server
		log, err := io.ReadAll(stderr)
		if err != nil {
			t.Error(err)
		}
		s.log <- string(log)
	}()
	return s
}

// stop sends the signal, waits for the process to end well, and returns what it has logged.
func (s *process) stop(signal os.Signal) (log string) {
	s.t.Helper()
	http.DefaultClient.CloseIdleConnections()
	if err := s.command.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
	return s.wait()
}

func (s *process) wait() (log string) {
	s.t.Helper()
	log = <-s.log
	if err := s.command.Wait(); err != nil {
		s.t.Errorf("it ended with %v:\n%s", err, log)
	}
	return log
}

func (s *process) post(value string) (status int, body string) {
	s.t.Helper()
	response, err := http.Post(s.url+"/record", "text/plain", strings.NewReader(value))
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

func (s *process) list() string {
	s.t.Helper()
	response, err := http.Get(s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(content)
}

func TestServeRecordsAndRemembers(t *testing.T) {
	folder := t.TempDir()
	for i, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		s := serveIn(t, folder, "--listen=127.0.0.1:0")
		if want := fmt.Sprintf("Try: curl -d 'hello world' %s/record\n", strings.TrimPrefix(s.url, "http://")); s.hint != want {
			t.Errorf("it says %q, want %q", s.hint, want)
		}
		if status, body := s.post("hello world"); status != 201 || body != "Recorded: hello world\n" {
			t.Errorf("answered %d %q", status, body)
		}
		if n := strings.Count(s.list(), "\thello world\n"); n != i+1 {
			t.Errorf("%d messages after %d starts", n, i+1)
		}
		s.stop(signal)
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 1 || entries[0].Name() != "daybook.db" {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

// TestWithoutCCompiler builds Daybook as Go does where there is none, with another SQLite, and lets it and the one that
// the tests were built with use one file by turns.
func TestWithoutCCompiler(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this compiles everything")
	}
	t.Parallel()
	folder := t.TempDir()
	program := filepath.Join(folder, "daybook")
	compiler, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() // of programs: of Go alone
	if err := os.Symlink(compiler, filepath.Join(path, "go")); err != nil {
		t.Fatal(err)
	}
	build := exec.Command(compiler, "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=", "PATH="+path)
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	var seen string
	for i, path := range []string{os.Args[0], program, os.Args[0]} {
		command := daybook(t, folder, "--listen=127.0.0.1:0")
		command.Path = path
		s := serveCommand(t, command)
		if list := s.list(); list != seen {
			t.Errorf("it lists\n%s\nthe other one had\n%s", list, seen)
		}
		if status, body := s.post(fmt.Sprint("message ", i)); status != 201 {
			t.Errorf("answered %d %q", status, body)
		}
		seen = s.list()
		s.stop(syscall.SIGTERM)
	}
	if n := strings.Count(seen, "\n"); n != 3 {
		t.Errorf("%d messages:\n%s", n, seen)
	}
}

func TestStopFinishesWhatRuns(t *testing.T) {
	s := serveIn(t, t.TempDir(), "--listen=127.0.0.1:0")
	addr := strings.TrimPrefix(s.url, "http://")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /record HTTP/1.1\r\nHost: %s\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n", addr)
	answers := bufio.NewReader(conn)
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("%q %v", line, err) // now the handler is reading the body
	}
	if _, err := answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for { // until it accepts no more
		other, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		other.Close()
	}
	fmt.Fprint(conn, "late")
	response, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 201 {
		t.Errorf("the request that was running was answered %d", response.StatusCode)
	}
	s.wait()
}

// TestLogThatNobodyReads closes the other end of standard error, as a log collector does that ends.
func TestLogThatNobodyReads(t *testing.T) {
	command := daybook(t, t.TempDir(), "--listen=127.0.0.1:0")
	pipe, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	greeting, err := bufio.NewReader(pipe).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := pipe.Close(); err != nil {
		t.Fatal(err)
	}
	url := strings.TrimPrefix(strings.TrimSpace(greeting), "Daybook is at ")
	for range 2 {
		response, err := http.Post(url+"/record", "text/plain", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusCreated {
			t.Errorf("answered %d", response.StatusCode)
		}
	}
	if err := errors.Join(command.Process.Signal(syscall.SIGTERM), command.Wait()); err != nil {
		t.Error(err)
	}
}

// shortFolder returns a temporary folder for a socket, whose path must be short.
func shortFolder(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "daybook")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	return folder
}

func TestServeOnASocket(t *testing.T) {
	folder := shortFolder(t)
	path := filepath.Join(folder, "s")
	client := http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) },
	}}
	for _, kill := range []bool{true, false} { // the second one finds the first one's socket
		s := serveIn(t, folder, "DAYBOOK_LISTEN=unix:"+path)
		if !strings.Contains(s.hint, "--unix-socket "+path) {
			t.Errorf("it says %q", s.hint)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
			t.Errorf("the socket is %v, %v", info, err)
		}
		response, err := client.Get("http://localhost/healthz")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		client.CloseIdleConnections()
		if response.StatusCode != 200 {
			t.Errorf("answered %d", response.StatusCode)
		}
		if !kill {
			s.stop(syscall.SIGTERM)
			continue
		}
		if err := s.command.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-s.log
		_ = s.command.Wait() // killed
	}
}

// TestRefusedStart has what must not start, each with its status and a sentence that says what to do.
func TestRefusedStart(t *testing.T) {
	folder := t.TempDir()
	text := filepath.Join(folder, "letter.txt")
	if err := os.WriteFile(text, bytes.Repeat([]byte("Dear Anna, "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	makeDatabase(t, filepath.Join(folder, "newer.db"), "PRAGMA user_version = 1000")
	photos, err := database.Open(t.Context(), filepath.Join(folder, "photos.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(photos.Exec(t.Context(), "CREATE TABLE photo (id)", []any{}, nil), photos.Close()); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, test := range []struct {
		name     string
		args     []string
		status   int
		sentence string
	}{
		{"a taken port", []string{"--listen=" + taken.Addr().String()}, 1, "another program listens on " + taken.Addr().String() + ": stop it, or use another address"},
		{"all addresses", []string{"--listen=0.0.0.0:0"}, 1, "other machines can reach 0.0.0.0:0, and could read and record: use --token-file, or --open to allow that"},
		{"all addresses, unsaid", []string{"DAYBOOK_LISTEN=:0"}, 1, "other machines can reach :0"},
		{"no address", []string{"--listen=here"}, 1, `cannot listen on "here": use host:port`},
		{"a file for a socket", []string{"--listen=unix:letter.txt"}, 1, "letter.txt is not a socket: use another path"},
		{"another program's database", []string{"--database=photos.db"}, 1, "photos.db: the database belongs to another program"},
		{"memory", []string{"--database=:memory:"}, 1, ":memory: would lose everything at the end: use the path of a file"},
		{"a folder for a database", []string{"--database=."}, 1, folder + " is a folder: use the path of a file in it, such as " + filepath.Join(folder, "daybook.db")},
		{"no folder", []string{"--database=none/a.db"}, 1, filepath.Join(folder, "none") + " does not exist"},
		{"not a database", []string{"--database=letter.txt"}, 1, "letter.txt is not a SQLite database"},
		{"a newer database", []string{"--database=newer.db"}, 1, "newer.db: the database was written by a newer version"},
		{"an unknown flag", []string{"--colour"}, 2, "unknown flag --colour"},
		{"an unknown flag, in JSON", []string{"--log=json", "--colour"}, 2, `"msg":"daybook: unknown flag --colour`},
		{"an unknown command", []string{"sing"}, 2, "unexpected argument sing"},
		{"a token and its file", []string{"--token-file=letter.txt", "DAYBOOK_TOKEN=0123456789abcdef"}, 2, "use either --token-file or DAYBOOK_TOKEN, not both"},
		{"private without a token", []string{"--private"}, 2, "--private needs a token: --token-file or DAYBOOK_TOKEN"},
		{"an empty token", []string{"DAYBOOK_TOKEN="}, 1, "the token in DAYBOOK_TOKEN has 0 characters: use at least 16"},
		{"a short token", []string{"DAYBOOK_TOKEN=0123456789abcde"}, 1, "the token in DAYBOOK_TOKEN has 15 characters: use at least 16"},
		{"a token of words", []string{"--token-file=letter.txt"}, 1, "the token in letter.txt has a space or another character that is not visible ASCII"},
		{"no token file", []string{"--token-file=none"}, 1, "the token cannot be read: open none: no such file or directory"},
		{"a proxy's name", []string{"--proxy=proxy.example.org"}, 2, "--proxy"},
		{"a limit of nothing", []string{"--max-message=0"}, 2, "--max-message must be between 1 and"},
		{"a limit that is no number", []string{"DAYBOOK_MAX_MESSAGE=much"}, 2, "much"},
		{"an age of less than a minute", []string{"--keep=59s"}, 2, `"59s" is not an age of a minute or more, such as 90d or 12h, or 0`},
		{"an age of less than nothing", []string{"--keep=-90d"}, 2, `"-90d" is not an age`},
		{"an age that is none", []string{"DAYBOOK_KEEP=long"}, 2, `"long" is not an age`},
		{"an age beyond time", []string{"--keep=106752d"}, 2, `"106752d" is not an age`},
		{"a rate of nothing", []string{"--rate=0/s"}, 2, `"0/s" is not a rate such as 10/s`},
		{"a log of another kind", []string{"--log=xml"}, 2, "--log must be one of"},
	} {
		t.Run(test.name, func(t *testing.T) {
			output, err := daybook(t, folder, append([]string{"DAYBOOK_LISTEN=127.0.0.1:0"}, test.args...)...).CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != test.status {
				t.Errorf("it ended with %v, want %d", err, test.status)
			}
			if !strings.Contains(string(output), test.sentence) || strings.Count(string(output), "\n") != 1 {
				t.Errorf("it said\n%s\nwant\n%s", output, test.sentence)
			}
		})
	}
}

// TestUnwritableDatabase starts as somebody who may not write: root may write anything.
func TestUnwritableDatabase(t *testing.T) {
	folder, err := os.MkdirTemp("", "daybook") // t.TempDir is for its owner alone
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(folder, "daybook")
	if err := os.WriteFile(program, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(folder, "open") // a folder that all may write, with a file that they may not
	old := filepath.Join(open, "old.db")
	if err := errors.Join(os.Mkdir(open, 0o755), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	makeDatabase(t, old)
	if err := errors.Join(os.Chmod(old, 0o444), os.Chmod(folder, 0o555)); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(folder, 0o755)
	first, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		t.Log(err)
	}
	for _, test := range []struct{ listen, database, sentence string }{
		{"127.0.0.1:0", "open/old.db", "open/old.db: the file and its folder must be writable"},
		{"127.0.0.1:0", "new.db", "new.db: the file and its folder must be writable"},
		{"127.0.0.1:80", "open/new.db", "only root may listen on 127.0.0.1:80: use a port above 1023"},
	} {
		if test.listen == "127.0.0.1:80" && strings.TrimSpace(string(first)) != "1024" {
			continue // here, everybody may listen on it, as in many containers
		}
		command := daybook(t, folder, "--listen="+test.listen, "--database="+test.database)
		command.Path = program
		if os.Getuid() == 0 {
			command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		output, err := command.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(output), test.sentence) {
			t.Errorf("%s at %s: it ended with %v, and said\n%s", test.database, test.listen, err, output)
		}
	}
}

func TestFlagBeatsEnvironment(t *testing.T) {
	s := serveIn(t, t.TempDir(), "--listen=127.0.0.1:0", "--max-message=5", "DAYBOOK_MAX_MESSAGE=3", "DAYBOOK_LISTEN=nowhere")
	if status, _ := s.post("12345"); status != 201 {
		t.Errorf("answered %d", status)
	}
	if status, _ := s.post("123456"); status != 413 {
		t.Errorf("one byte over the limit was answered %d", status)
	}
	s.stop(syscall.SIGTERM)
}

func TestOpenListensEverywhere(t *testing.T) {
	s := serveIn(t, t.TempDir(), "--listen=:0", "--open", "--log=json", "--debug")
	if !strings.HasPrefix(s.url, "http://localhost:") || !strings.Contains(s.hint, `"msg":"Try: curl -d 'hello world' localhost:`) {
		t.Errorf("it says that it is at %s\n%s", s.url, s.hint)
	}
	if status, _ := s.post("hello"); status != 201 {
		t.Errorf("answered %d", status)
	}
	log := s.stop(syscall.SIGTERM)
	for line := range strings.Lines(s.hint + log) {
		if !json.Valid([]byte(line)) {
			t.Errorf("this is not JSON: %s", line)
		}
	}
	for _, want := range []string{`{"time":`, `"path":"/record","status":201`, `"client":"127.0.0.1"`, "INSERT INTO `messages`", ": committed"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %s:\n%s", want, log)
		}
	}
}

func TestVersionAndHelp(t *testing.T) {
	for _, arg := range []string{"version", "--version", "-v"} {
		version, err := daybook(t, t.TempDir(), arg).Output()
		if want := `^daybook \S+, commit [^,]+, go1\.\S+, SQLite 3\.\d+\.\d+\n$`; err != nil || !regexp.MustCompile(want).Match(version) {
			t.Errorf("%s: %q, %v", arg, version, err)
		}
	}
	help, err := daybook(t, t.TempDir(), "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	if command, err := daybook(t, t.TempDir(), "help").Output(); err != nil || !bytes.Equal(command, help) {
		t.Errorf("the command help: %v\n%s", err, command)
	}
	for _, want := range []string{"127.0.0.1:8080", "DAYBOOK_LISTEN", "daybook.db", "DAYBOOK_DATABASE", "DAYBOOK_OPEN", "65536", "DAYBOOK_MAX_MESSAGE", "DAYBOOK_LOG", "DAYBOOK_DEBUG", "version"} {
		if !strings.Contains(string(help), want) {
			t.Errorf("the help does not mention %s:\n%s", want, help)
		}
	}
}

// TestBinaryKnowsItsCommit builds it from the checkout, if this is one.
func TestBinaryKnowsItsCommit(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this links the program")
	}
	commit, err := exec.Command("git", "rev-parse", "HEAD").Output()
	if err != nil {
		t.Skip("this is not a checkout, or git is not installed")
	}
	binary := filepath.Join(t.TempDir(), "daybook")
	if output, err := exec.Command("go", "build", "-buildvcs=auto", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	version, err := exec.Command(binary, "version").Output()
	if err != nil || !strings.Contains(string(version), "commit "+strings.TrimSpace(string(commit))+", ") {
		t.Errorf("%s of %s: %v", version, commit, err)
	}
}

// TestStopSaysWhatItWaitsFor has a request whose body comes late.
func TestStopSaysWhatItWaitsFor(t *testing.T) {
	s := serveIn(t, t.TempDir(), "--listen=127.0.0.1:0")
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /record HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
	if _, err := io.ReadFull(conn, make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(time.Second, func() { fmt.Fprint(conn, "late") })
	log := s.stop(os.Interrupt)
	if !strings.Contains(log, "Waiting for 1 request; Ctrl-C again stops at once.\n") || !strings.Contains(log, "path=/record status=201") {
		t.Errorf("it said\n%s", log)
	}
}

// makeDatabase makes a database as main does, and then runs the statements.
func makeDatabase(t *testing.T, path string, statements ...string) {
	t.Helper()
	driver, err := database.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer driver.Close()
	if err := database.Migrate(t.Context(), driver, migrations.Files, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	for _, statement := range statements {
		if err := driver.Exec(t.Context(), statement, []any{}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRemoveOnTheCommandLine removes while a server runs on the same database, all or nothing.
func TestRemoveOnTheCommandLine(t *testing.T) {
	urls := map[string]string{"SQLite": "daybook.db", "PostgreSQL": ""}
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			if url == "" {
				url = databasetest.Start(t, "fsync=off").New(t)
			}
			folder := t.TempDir()
			s := serveIn(t, folder, "--listen=127.0.0.1:0", "--database="+url)
			for _, value := range []string{"one", "two\nlines", "three"} {
				s.post(value)
			}
			stream := s.events("?after=3")
			for _, test := range []struct {
				ids            string
				status         int
				stdout, stderr string // regular expressions
			}{
				{"2 1 2", 0, `^1\t\S+Z\tone\n2\t\S+Z\ttwo\\nlines\n$`, `^$`},
				{"3 9", 1, `^$`, `^daybook: nothing was removed: There is no message 9\.\n$`},
				{"3 1", 1, `^$`, `^daybook: nothing was removed: Message 1 was removed\.\n$`},
				{"4", 1, `^$`, `^daybook: nothing was removed: There is no message 4\.\n$`}, // a removal
				{"x", 2, `^$`, `^daybook: .*x`},
				{"", 2, `^$`, `^daybook: expected "<id> \.\.\."`},
			} {
				command := daybook(t, folder, append([]string{"remove", "--database=" + url}, strings.Fields(test.ids)...)...)
				var stdout, stderr bytes.Buffer
				command.Stdout, command.Stderr = &stdout, &stderr
				err := command.Run()
				if status := command.ProcessState.ExitCode(); status != test.status {
					t.Errorf("remove %s: %v", test.ids, err)
				}
				if !regexp.MustCompile(test.stdout).Match(stdout.Bytes()) || !regexp.MustCompile(test.stderr).Match(stderr.Bytes()) {
					t.Errorf("remove %s: it said %q and %q", test.ids, &stdout, &stderr)
				}
			}
			for _, want := range []string{"id: 4", "event: removed", "data: 1", "", "id: 5", "event: removed", "data: 2"} {
				if !stream.Scan() || stream.Text() != want {
					t.Errorf("a browser gets %q, want %q: %v", stream.Text(), want, stream.Err())
				}
			}
			if list := s.list(); !strings.HasPrefix(list, "3\t") {
				t.Errorf("it lists %q", list)
			}
			s.stop(syscall.SIGTERM)
		})
	}
}

// events follows the server as a browser does, and returns the lines after the first comment.
func (s *process) events(query string) *bufio.Scanner {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+"/live"+query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	for range 2 {
		lines.Scan()
	}
	return lines
}

// TestRemoveCreatesNoDatabase has a misspelt path.
func TestRemoveCreatesNoDatabase(t *testing.T) {
	folder := t.TempDir()
	output, err := daybook(t, folder, "remove", "--database=daybok.db", "1").CombinedOutput()
	if want := "daybook: there is no database daybok.db: use the server's --database\n"; err == nil || string(output) != want {
		t.Errorf("it ended with %v, and said %q", err, output)
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}
