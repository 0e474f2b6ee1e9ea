package database

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// limitSilence ends a connection when what was sent has not been acknowledged for maxEnd: the machine or the network on the other
// side is gone. By default, the kernel tries for a quarter of an hour.
func limitSilence(network, _ string, conn syscall.RawConn) (err error) {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	if failed := conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(maxEnd.Milliseconds()))
	}); failed != nil {
		return failed
	}
	return err
}
