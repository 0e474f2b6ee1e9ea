package databasetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// startLimit is how long a server may take to start, or to end.
const startLimit = 30 * time.Second

// Server is a PostgreSQL server in a temporary folder, which listens only on a socket there.
type Server struct {
	folder     string // of the socket
	data       string
	programs   string // folder of PostgreSQL's programs
	credential *syscall.Credential
	settings   []string
	process    *exec.Cmd
	log        bytes.Buffer
}

// Start starts a new server, which is removed when the test has ended. The settings are of the form name=value. If PostgreSQL is not
// on this machine, the test is skipped, or fails if DAYBOOK_TEST_STRICT is 1. With -short it is always skipped.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: this starts PostgreSQL")
	}
	s, err := NewServer(settings...)
	if errors.Is(err, ErrNotInstalled) && os.Getenv("DAYBOOK_TEST_STRICT") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Remove)
	return s
}

// ErrNotInstalled is the error of [NewServer] if PostgreSQL's programs are not found.
var ErrNotInstalled = errors.New("there is no PostgreSQL here; install it, for example with: apt install postgresql")

// NewServer is like [Start], for programs that are no tests. The caller calls Remove.
func NewServer(settings ...string) (*Server, error) {
	programs, err := findPrograms()
	if err != nil {
		return nil, err
	}
	s := &Server{programs: programs, settings: settings}
	if s.folder, err = os.MkdirTemp("", "postgres"); err != nil {
		return nil, err
	}
	s.data = filepath.Join(s.folder, "data")
	if err = s.leaveRoot(); err == nil {
		err = s.program("initdb", "--pgdata="+s.data, "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
	}
	if err == nil {
		err = s.Begin()
	}
	if err != nil {
		s.Remove()
		return nil, err
	}
	return s, nil
}

// findPrograms returns the folder of PostgreSQL's programs, which Debian keeps outside of PATH.
func findPrograms() (string, error) {
	folders, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Reverse(folders) // the newest first
	if output, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		folders = append([]string{strings.TrimSpace(string(output))}, folders...)
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		folders = append(folders, filepath.Dir(path))
	}
	for _, folder := range folders {
		if _, err := os.Stat(filepath.Join(folder, "initdb")); err == nil {
			return folder, nil
		}
	}
	return "", ErrNotInstalled
}

// leaveRoot makes the server run as another user if this is root, whom PostgreSQL refuses.
func (s *Server) leaveRoot() error {
	if os.Getuid() != 0 {
		return nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	s.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return s.giveFolder()
}

// giveFolder gives the server's folder to the user that it runs as.
func (s *Server) giveFolder() error {
	if s.credential == nil {
		return nil
	}
	return os.Chown(s.folder, int(s.credential.Uid), int(s.credential.Gid))
}

// command returns the command to run one of PostgreSQL's programs.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	command := exec.Command(filepath.Join(s.programs, name), args...)
	command.Dir = s.folder
	command.SysProcAttr = &syscall.SysProcAttr{Credential: s.credential}
	return command
}

// program runs one of PostgreSQL's programs to its end.
func (s *Server) program(name string, args ...string) error {
	if output, err := s.command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, output)
	}
	return nil
}

// Begin starts the server, and returns when it accepts connections.
func (s *Server) Begin() error {
	// Shared memory in the folder of its data is removed with it, also after SIGKILL.
	args := []string{"-D", s.data, "-k", s.folder, "-c", "listen_addresses=", "-c", "dynamic_shared_memory_type=mmap"}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	s.log.Reset()
	s.process = s.command("postgres", args...)
	s.process.SysProcAttr.Setpgid = true // so that End reaches all its processes
	s.process.Stderr = &s.log
	if err := s.process.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for ; ; time.Sleep(10 * time.Millisecond) {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		if ctx.Err() != nil {
			s.End(syscall.SIGQUIT)
			return fmt.Errorf("the server has not started: %w\n%s", err, &s.log)
		}
	}
}

// End ends the server by a signal: SIGTERM waits for its clients, SIGINT disconnects them, SIGQUIT does not write a checkpoint, and
// SIGKILL ends all its processes, as if the machine had lost its power.
func (s *Server) End(signal syscall.Signal) {
	if s.process.ProcessState != nil {
		return // it has ended
	}
	to := s.process.Process.Pid
	if signal == syscall.SIGKILL {
		to = -to
	}
	_ = syscall.Kill(to, signal)
	_ = s.process.Wait()
}

// Remove ends the server and removes its folder.
func (s *Server) Remove() {
	if s.process != nil {
		s.End(syscall.SIGQUIT)
	}
	_ = os.RemoveAll(s.folder)
}

// URL returns the URL of a database on the server.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://postgres@/%s?host=%s", database, s.folder)
}

// New creates a database on the server, and returns its URL.
func (s *Server) New(t testing.TB) (url string) {
	t.Helper()
	return create(t, s.URL("postgres"))
}

// URLOf returns the URL of the one of several servers that can be written to: the primary server, whichever that is.
func URLOf(servers ...*Server) string {
	var hosts, ports []string
	for _, s := range servers {
		hosts, ports = append(hosts, s.folder), append(ports, "5432")
	}
	return fmt.Sprintf("postgres://postgres@/postgres?host=%s&port=%s&target_session_attrs=read-write",
		strings.Join(hosts, ","), strings.Join(ports, ","))
}
