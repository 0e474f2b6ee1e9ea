package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
)

// socketMode lets the owner and the group of a Unix socket connect.
const socketMode = 0o660

// queueRest is how long nobody may have come out of a closing queue until it is taken for empty: longer than a handshake takes.
const queueRest = 50 * time.Millisecond

// Listener accepts connections, also those that wait for it when it stops.
type Listener struct {
	socket
	Inherited bool // from systemd, which keeps the socket open, and the queue for the next process

	rest     time.Duration // how long to wait for another connection while it stops
	stopping atomic.Bool
}

// socket is a *net.TCPListener or a *net.UnixListener.
type socket interface {
	net.Listener
	syscall.Conn
	SetDeadline(time.Time) error
}

// Listen listens on the socket that systemd has passed, or else on host:port or unix:/path. Unless open, it refuses an address that
// other machines can reach.
func Listen(address string, open bool) (*Listener, error) {
	passed, err := activation.Listeners()
	switch {
	case err != nil:
		return nil, fmt.Errorf("the socket from systemd cannot be used: %w", err)
	case len(passed) > 1:
		return nil, fmt.Errorf("systemd has passed %d sockets: use one ListenStream= only", len(passed))
	case len(passed) == 1:
		return inherit(passed[0], open)
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return listenUnix(path)
	}
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %q: use host:port or unix:/path/to.sock (%w)", address, err)
	}
	if err := refuseOthers(tcp, address, open); err != nil {
		return nil, err
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false) // its sockets take no filter
	listener, err := config.Listen(context.Background(), "tcp", tcp.String())
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("another program listens on %s: stop it, or use another address (--listen)", address)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("only root may listen on %s: use a port above 1023 (--listen)", address)
	case err != nil:
		return nil, err
	}
	return &Listener{socket: listener.(socket)}, nil
}

// inherit returns the listener of a socket that systemd has passed: nil if that does not listen.
func inherit(passed net.Listener, open bool) (*Listener, error) {
	listener, ok := passed.(socket)
	if !ok {
		return nil, errors.New("systemd has passed a socket that takes no connections: use ListenStream=")
	}
	if err := refuseOthers(listener.Addr(), listener.Addr().String(), open); err != nil {
		return nil, err
	}
	return &Listener{socket: listener, Inherited: true}, nil
}

// refuseOthers returns an error if other machines can reach the address, unless that is allowed.
func refuseOthers(addr net.Addr, name string, open bool) error {
	if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && !open {
		return fmt.Errorf("other machines can reach %s, and could read and record: use --token-file, or --open to allow that", name)
	}
	return nil
}

// listenUnix listens on a socket. It replaces one that was left behind by a process that has ended.
func listenUnix(path string) (*Listener, error) {
	listener, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err := removeStale(path); err != nil {
			return nil, err
		}
		listener, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return &Listener{socket: listener.(socket)}, nil
}

// removeStale removes a socket on which nobody listens.
func removeStale(path string) error {
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is not a socket: use another path (--listen)", path)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("another program listens on %s: stop it, or use another path (--listen)", path)
	}
	return os.Remove(path)
}

// stop makes Accept fail: when the queue is empty, if nothing new can enter it, and otherwise at once. Closing a socket resets the
// connections in its queue. An inherited queue is left to the next process.
func (l *Listener) stop() {
	if !l.Inherited && l.refuse() == nil {
		l.rest = queueRest
	}
	l.stopping.Store(true)
	_ = l.SetDeadline(time.Now().Add(l.rest)) // fails only if the listener is closed
}

// refuse keeps new connections out of the queue.
func (l *Listener) refuse() error {
	if unix, ok := l.socket.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false) // the next process may have its own by then
		return os.Remove(l.Addr().String())
	}
	return dropNew(l.socket)
}

// Accept returns the next connection, or [net.ErrClosed] after the server has stopped.
func (l *Listener) Accept() (net.Conn, error) {
	if l.stopping.Load() {
		_ = l.SetDeadline(time.Now().Add(l.rest))
	}
	accepted, err := l.socket.Accept()
	if err != nil && l.stopping.Load() {
		return nil, net.ErrClosed
	}
	return accepted, err
}
