// Package crowd has clients that occupy a server and want nothing of it, for measurements and tests.
package crowd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

// Crowd is how many clients there are.
type Crowd struct {
	Idle   int // send one request, and keep the connection
	Slow   int // send a request at a byte or two a second: half of them its header, half its body
	Unread int // ask for all messages, or follow them, and read nothing
}

// Large is a crowd as a server on the internet may meet it.
var Large = Crowd{Idle: 2000, Slow: 500, Unread: 256}

// Surround connects the crowd to a server. Whoever is disconnected comes again, until leave is called.
func (c Crowd) Surround(ctx context.Context, address string) (leave func()) {
	ctx, cancel := context.WithCancel(ctx)
	var clients, arriving sync.WaitGroup
	add := func(n int, behave func(conn net.Conn, i int)) {
		for i := range n {
			arriving.Add(1)
			arrived := sync.OnceFunc(arriving.Done)
			clients.Go(func() {
				defer arrived()
				for ctx.Err() == nil {
					visit(ctx, address, arrived, func(conn net.Conn) { behave(conn, i) })
				}
			})
		}
	}
	add(c.Idle, idle)
	add(c.Slow, slow)
	add(c.Unread, func(conn net.Conn, i int) { unread(ctx, conn, i) })
	arriving.Wait()
	return func() {
		cancel()
		clients.Wait()
	}
}

// visit connects, behaves, and closes the connection. If there is none, it pauses.
func visit(ctx context.Context, address string, arrived func(), behave func(net.Conn)) {
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		time.Sleep(100 * time.Millisecond)
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	arrived()
	behave(conn)
}

// dialer makes connections that hold little that is not read: the kernel would take megabytes for each.
var dialer = net.Dialer{Control: func(_, _ string, conn syscall.RawConn) (err error) {
	if control := conn.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
	}); control != nil {
		return control
	}
	return err
}}

func idle(conn net.Conn, _ int) {
	_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
	answers := bufio.NewReaderSize(conn, 512)
	if answer, err := http.ReadResponse(answers, nil); err == nil {
		_, _ = io.Copy(io.Discard, answer.Body)
		_, _ = answers.ReadByte() // until the server closes the connection
	}
}

func slow(conn net.Conn, i int) {
	request := "POST /record HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n"
	if i%2 == 0 {
		request += "\r\n"
	}
	_, _ = io.WriteString(conn, request)
	for answer := make([]byte, 1); ; _, _ = io.WriteString(conn, "x") {
		_ = conn.SetReadDeadline(time.Now().Add(time.Second/2 + time.Duration(i)*time.Millisecond))
		if _, err := conn.Read(answer); !errors.Is(err, os.ErrDeadlineExceeded) {
			return // it is answered or disconnected
		}
	}
}

func unread(ctx context.Context, conn net.Conn, i int) {
	path := []string{"/?all", "/?all&format=json", "/live?after=0"}[i%3]
	_, _ = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
	select {
	case <-time.After(11 * time.Second): // by then, the server has given up
	case <-ctx.Done():
	}
}
