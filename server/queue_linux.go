package server

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// dropNew drops what begins a connection: clients send it again, until the socket is closed. What ends a handshake still passes.
func dropNew(listener syscall.Conn) error {
	const flags, syn = 13, 0x02 // where a TCP header has its flags, and the one of a new connection
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: syn, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},      // drop it
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff}, // keep all of it
	}
	conn, err := listener.SyscallConn()
	if err != nil {
		return err
	}
	var attached error
	err = conn.Control(func(fd uintptr) {
		attached = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	})
	return errors.Join(err, attached)
}
