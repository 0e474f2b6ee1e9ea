//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// withSockets passes sockets to the command as systemd does.
func withSockets(t *testing.T, command *exec.Cmd, sockets ...*os.File) *exec.Cmd {
	t.Helper()
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	command.Args = slices.Concat([]string{shell, "-c", `LISTEN_PID=$$ exec "$0" "$@"`, command.Path}, command.Args[1:])
	command.Path = shell
	command.Env = append(command.Env, fmt.Sprintf("LISTEN_FDS=%d", len(sockets)))
	command.ExtraFiles = sockets
	return command
}

// passed returns a socket as systemd passes it.
func passed(t *testing.T, network, address string) (socket *os.File, addr net.Addr) {
	t.Helper()
	var listener interface {
		io.Closer
		File() (*os.File, error)
	}
	switch network {
	case "udp":
		conn, err := net.ListenPacket(network, address)
		if err != nil {
			t.Fatal(err)
		}
		listener, addr = conn.(*net.UDPConn), conn.LocalAddr()
	default:
		var config net.ListenConfig
		config.SetMultipathTCP(false) // as with systemd
		l, err := config.Listen(t.Context(), network, address)
		if err != nil {
			t.Fatal(err)
		}
		listener, addr = l.(interface {
			io.Closer
			File() (*os.File, error)
		}), l.Addr()
	}
	t.Cleanup(func() { listener.Close() })
	socket, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return socket, addr
}

// TestServeOnAPassedSocket passes one of each kind. Both outlive the server.
func TestServeOnAPassedSocket(t *testing.T) {
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(shortFolder(t), "s")} {
		socket, addr := passed(t, network, address)
		for range 2 {
			s := serveCommand(t, withSockets(t, daybook(t, t.TempDir(), "--listen=127.0.0.1:1"), socket))
			if !strings.HasSuffix(s.url, addr.String()) || !strings.Contains(s.greeting, "--listen is not used") {
				t.Errorf("it says %q", s.greeting)
			}
			if status := getOver(t, addr, "/healthz"); status != http.StatusOK {
				t.Errorf("answered %d", status)
			}
			s.stop(syscall.SIGTERM)
		}
		conn, err := net.Dial(network, addr.String()) // waits for the next process
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
}

// getOver asks the server at the address, and returns the status of the answer.
func getOver(t *testing.T, addr net.Addr, path string) int {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.Dial(addr.Network(), addr.String())
		},
	}}
	response, err := client.Get("http://localhost" + path)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// TestRefusedPassedSockets has what must not start.
func TestRefusedPassedSockets(t *testing.T) {
	local, _ := passed(t, "tcp", "127.0.0.1:0")
	everywhere, addr := passed(t, "tcp", ":0")
	datagrams, _ := passed(t, "udp", "127.0.0.1:0")
	for _, test := range []struct {
		sockets  []*os.File
		sentence string
	}{
		{[]*os.File{local, everywhere}, "systemd has passed 2 sockets: use one ListenStream= only"},
		{[]*os.File{datagrams}, "systemd has passed a socket that takes no connections: use ListenStream="},
		{[]*os.File{everywhere}, "other machines can reach " + addr.String() + ", and could read and record: use --token-file, or --open"},
	} {
		output, err := withSockets(t, daybook(t, t.TempDir()), test.sockets...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(output), test.sentence) {
			t.Errorf("it ended with %v, and said\n%s\nwant\n%s", err, output, test.sentence)
		}
	}
	serveCommand(t, withSockets(t, daybook(t, t.TempDir(), "--open"), everywhere)).stop(syscall.SIGTERM)
}

// TestSystemdIsTold has it listen to what is said to it.
func TestSystemdIsTold(t *testing.T) {
	path := filepath.Join(shortFolder(t), "notify")
	notices, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notices.Close()
	told := func() string {
		notice := make([]byte, 100)
		if err := notices.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := notices.Read(notice)
		if err != nil {
			t.Fatal(err)
		}
		return string(notice[:n])
	}
	command := daybook(t, t.TempDir(), "--listen=127.0.0.1:0")
	command.Env = append(command.Env, "NOTIFY_SOCKET="+path)
	s := serveCommand(t, command)
	if got := told(); got != "READY=1" {
		t.Errorf("at the start it is told %q", got)
	}
	s.list()
	s.stop(syscall.SIGTERM)
	if got := told(); got != "STOPPING=1" {
		t.Errorf("at the stop it is told %q", got)
	}
}

// TestUnitFiles verifies them, and rates what the service may do.
func TestUnitFiles(t *testing.T) {
	program := need(t, "systemd-analyze")
	folder := t.TempDir()
	for _, name := range []string{"daybook.service", "daybook.socket"} {
		unit, err := os.ReadFile(filepath.Join("docs", "systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		unit = []byte(strings.Replace(string(unit), "/usr/local/bin/daybook", os.Args[0], 1)) // verify looks for it
		if err := os.WriteFile(filepath.Join(folder, name), unit, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"verify", "--recursive-errors=no", "daybook.service", "daybook.socket"},
		{"security", "--offline=true", "--threshold=15", "daybook.service"}, // tenths, of 10 at most
	} {
		command := exec.Command(program, args...)
		command.Dir = folder
		output, err := command.CombinedOutput()
		if err != nil || args[0] == "verify" && len(output) > 0 {
			t.Errorf("%s: %v\n%s", args[0], err, output)
		}
	}
}
