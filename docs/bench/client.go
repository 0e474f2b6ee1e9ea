package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// client is as much of HTTP/1.1 as the servers here speak. The one of net/http would cost more than they do, on the same cores.
type client struct {
	conn   net.Conn
	reader *bufio.Reader
	want   []byte // how an answer begins
}

// dial returns a client that wants answers of that status, until the deadline.
func dial(address string, status int, deadline time.Time) (*client, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &client{conn, bufio.NewReaderSize(conn, 32<<10), fmt.Appendf(nil, "HTTP/1.1 %d ", status)}, nil
}

// exchange sends the request and reads the answer.
func (c *client) exchange(request []byte) error {
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, c.want) {
		rest, _ := c.reader.Peek(c.reader.Buffered())
		return fmt.Errorf("it should have answered %sbut did\n%s%s", c.want, line, rest)
	}
	length := -1
	for len(bytes.TrimSpace(line)) > 0 {
		if line, err = c.reader.ReadSlice('\n'); err != nil {
			return err
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("it answered without a Content-Length")
	}
	_, err = c.reader.Discard(length)
	return err
}
