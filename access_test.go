//go:build unix

package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const token = "f7a1c9d4e8b2063a"

// folderWithToken returns a folder with the token in a file of this mode.
func folderWithToken(t *testing.T, mode os.FileMode) string {
	t.Helper()
	folder := t.TempDir()
	path := filepath.Join(folder, "token")
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return folder
}

// postWith records a message with the header, and returns the status.
func (s *process) postWith(authorization string) (status int) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), "POST", s.url+"/record", strings.NewReader("hello"))
	if err != nil {
		s.t.Fatal(err)
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// TestTokenIsNeverShown shows the token and others, in each way, to a server that logs all it can.
func TestTokenIsNeverShown(t *testing.T) {
	folder := folderWithToken(t, 0o600)
	for _, source := range []string{"--token-file=token", "DAYBOOK_TOKEN_FILE=token", "DAYBOOK_TOKEN=" + token} {
		for _, format := range []string{"text", "json"} {
			s := serveIn(t, folder, "--listen=127.0.0.1:0", source, "--private", "--debug", "--log="+format)
			password := base64.StdEncoding.EncodeToString([]byte(":" + token))
			for authorization, want := range map[string]int{
				"": 401, "Bearer " + token: 201, "Basic " + password: 201, "Bearer " + token + "!": 401, "Basic " + password[1:]: 401,
			} {
				if got := s.postWith(authorization); got != want {
					t.Errorf("%s, %q: answered %d, want %d", source, authorization, got, want)
				}
			}
			arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.command.Process.Pid)) // on Linux
			if err == nil && strings.Contains(string(arguments), token) {
				t.Errorf("the list of processes shows %q", arguments)
			}
			if log := s.hint + s.stop(syscall.SIGTERM); strings.Contains(log, token) || strings.Contains(log, password) {
				t.Errorf("%s: the log has the token:\n%s", source, log)
			}
		}
	}
}

// TestHintRecords types the command that the server says to try.
func TestHintRecords(t *testing.T) {
	need(t, "curl")
	folder := folderWithToken(t, 0o600)
	for _, source := range []string{"--token-file=token", "DAYBOOK_TOKEN=" + token, "--debug"} {
		s := serveIn(t, folder, "--listen=127.0.0.1:0", source)
		_, hint, _ := strings.Cut(s.hint, "Try: ")
		shell := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(hint, "curl", "curl -s", 1))
		shell.Dir, shell.Env = folder, append(os.Environ(), "DAYBOOK_TOKEN="+token)
		if said, err := shell.CombinedOutput(); string(said) != "Recorded: hello world\n" {
			t.Errorf("%s: %s says %q, %v", source, hint, said, err)
		}
		s.stop(syscall.SIGTERM)
	}
}

// TestCurlShowsTheToken in each of the ways that README has.
func TestCurlShowsTheToken(t *testing.T) {
	need(t, "curl")
	folder := folderWithToken(t, 0o600)
	s := serveIn(t, folder, "--listen=127.0.0.1:0", "--token-file=token", "--private")
	for _, line := range []string{
		`echo "machine 127.0.0.1 login me password $(cat token)" >> ~/.netrc; curl -n`,
		`curl -u "me:$(cat token)"`,
		`curl -H "Authorization: Bearer $(cat token)"`,
	} {
		shell := exec.CommandContext(t.Context(), "sh", "-c", line+" -s -d 'hello world' "+s.url+"/record")
		shell.Dir, shell.Env = folder, append(os.Environ(), "HOME="+folder)
		if said, err := shell.CombinedOutput(); string(said) != "Recorded: hello world\n" {
			t.Errorf("%s: it says %q, %v", line, said, err)
		}
	}
	s.stop(syscall.SIGTERM)
}

func TestTokenThatOthersCanRead(t *testing.T) {
	for mode, warned := range map[os.FileMode]bool{0o600: false, 0o440: false, 0o644: true} {
		s := serveIn(t, folderWithToken(t, mode), "--listen=127.0.0.1:0", "--token-file=token")
		if log := s.stop(syscall.SIGTERM); strings.Contains(log, "every user of this machine can read the token: chmod o-r token") != warned {
			t.Errorf("mode %o: it says\n%s", mode, log)
		}
	}
}

// TestListenWithToken listens where other machines may reach it.
func TestListenWithToken(t *testing.T) {
	s := serveIn(t, folderWithToken(t, 0o600), "--listen=:0", "--token-file=token")
	if status := s.postWith("Bearer " + token); status != 201 {
		t.Errorf("answered %d", status)
	}
	s.stop(syscall.SIGTERM)
}

// TestBehindAProxy is a proxy that uses a Unix socket, for visitors who use one of the names.
func TestBehindAProxy(t *testing.T) {
	folder, err := os.MkdirTemp("", "daybook") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "s")
	client := http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) },
	}}
	defer client.CloseIdleConnections()
	s := serveIn(t, folder, "--listen=unix:"+path, "--proxy=10.0.0.0/8,unix", "DAYBOOK_HOST=log.example.org,www.example.org")
	for host, want := range map[string]int{"log.example.org": 200, "www.example.org": 200, "example.org": 421} {
		request, err := http.NewRequestWithContext(t.Context(), "GET", "http://localhost/", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header = http.Header{"X-Forwarded-Host": {host}, "X-Forwarded-For": {"9.9.9.9, 10.1.1.1"}}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: answered %d, want %d", host, response.StatusCode, want)
		}
	}
	if log := s.stop(syscall.SIGTERM); strings.Count(log, "client=9.9.9.9 ") != 3 {
		t.Errorf("the log has other visitors:\n%s", log)
	}
}
