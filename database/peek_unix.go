//go:build unix

package database

import (
	"io"
	"net"
	"syscall"
)

// peek reports whether something was received that nobody has read, without waiting for it. It fails if the connection is closed.
func peek(network net.Conn) (received bool, err error) {
	socket, err := network.(syscall.Conn).SyscallConn()
	if err != nil {
		return false, err
	}
	var n int
	// Not Read, which would wait for a goroutine of pgx that reads: it starts one while it sends something large.
	failed := socket.Control(func(fd uintptr) {
		n, _, err = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	switch {
	case failed != nil:
		return false, failed
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return false, nil
	case err == nil && n == 0:
		return false, io.EOF
	}
	return n > 0, err
}
