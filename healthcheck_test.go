//go:build unix

package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"daybook/database/databasetest"
)

// TestHealthcheckAsksWhetherTheServerIsReady asks servers that are ready or not, in each form of --listen.
func TestHealthcheckAsksWhetherTheServerIsReady(t *testing.T) {
	socket := filepath.Join(shortFolder(t), "s")
	for _, test := range []struct {
		network, address string
		status           int
		exit             int
		sentence         string
	}{
		{"tcp", "127.0.0.1:0", 200, 0, ""},
		{"tcp", ":0", 200, 0, ""},
		{"unix", socket, 200, 0, ""},
		{"tcp", "0.0.0.0:0", 503, 1, " is not ready: The disk is on fire.\n"},
		{"unix", socket, 503, 1, "daybook: the server at unix:" + socket + " is not ready: The disk is on fire.\n"},
		{"tcp", "127.0.0.1:0", 302, 1, " is not ready: The disk is on fire.\n"}, // another program's
	} {
		listener, err := net.Listen(test.network, test.address)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if got := r.Method + " " + r.Host + r.RequestURI; got != "GET localhost/readyz" {
				t.Errorf("it asks for %s", got)
			}
			w.Header().Set("Location", "/")
			w.WriteHeader(test.status)
			fmt.Fprintln(w, "The disk is on fire.")
		}))
		server.Listener.Close()
		server.Listener = listener
		server.Start()
		address := "unix:" + test.address
		if test.network == "tcp" {
			host, _, _ := net.SplitHostPort(test.address)
			_, port, _ := net.SplitHostPort(listener.Addr().String())
			address = net.JoinHostPort(host, port)
		}
		checkHealth(t, address, test.exit, test.sentence)
		server.Close()
		checkHealth(t, address, 1, "daybook: the server at "+address+" cannot be reached: ")
	}
}

// TestHealthcheckGivesUp has a server that accepts the connection, but does not answer.
func TestHealthcheckGivesUp(t *testing.T) {
	t.Parallel()
	_, addr := passed(t, "tcp", "127.0.0.1:0")
	checkHealth(t, addr.String(), 1, "daybook: the server at "+addr.String()+" has not answered within 5s\n")
}

// checkHealth runs the command, with an environment that names a proxy.
func checkHealth(t *testing.T, address string, exit int, sentence string) {
	t.Helper()
	command := daybook(t, t.TempDir(), "healthcheck", "DAYBOOK_LISTEN="+address)
	command.Env = append(command.Env, "HTTP_PROXY=http://127.0.0.1:1", "ALL_PROXY=http://127.0.0.1:1")
	output, err := command.CombinedOutput()
	if command.ProcessState.ExitCode() != exit || !strings.Contains(string(output), sentence) || sentence == "" && len(output) > 0 {
		t.Errorf("%s: %v, and it said %q, want %q", address, err, output, sentence)
	}
}

// TestHealthcheckOfDaybook takes the database away, and stops the server while a client is connected.
func TestHealthcheckOfDaybook(t *testing.T) {
	postgres := databasetest.Start(t)
	for name, test := range map[string]struct {
		url  string
		lose func(folder string) error
	}{
		"SQLite":     {"daybook.db", func(folder string) error { return os.Rename(folder+"/daybook.db", folder+"/moved.db") }},
		"PostgreSQL": {postgres.New(t), func(string) error { postgres.End(syscall.SIGQUIT); return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			s := serveIn(t, folder, "--listen=127.0.0.1:0", "--database="+test.url)
			address := strings.TrimPrefix(s.url, "http://")
			checkHealth(t, address, 0, "")
			if err := test.lose(folder); err != nil {
				t.Fatal(err)
			}
			checkHealth(t, address, 1, " is not ready: The database cannot be reached.\n")

			conn := s.say("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if _, err := conn.Read(make([]byte, 1)); err != nil { // now there is a connection for which the server waits
				t.Fatal(err)
			}
			if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			for {
				output, err := daybook(t, folder, "healthcheck", "--listen="+address).CombinedOutput()
				if err == nil || strings.Contains(string(output), "cannot be reached:") {
					t.Errorf("during the shutdown: %v %s", err, output)
				}
				if err == nil || !strings.Contains(string(output), "database") {
					if !strings.Contains(string(output), " is not ready: The server is shutting down.\n") {
						t.Errorf("during the shutdown: %v %s", err, output)
					}
					break
				}
			}
			s.wait()
		})
	}
}
