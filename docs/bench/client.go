package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// load is what connections ask of a server. Each sends its next request when the last one is answered.
type load struct {
	server      *server
	connections int
	request     string
	status      int // that each answer must have
}

// post returns the load that records.
func post(s *server, connections int) load {
	const body = "msg=The+gate+is+open%3B+please+close+it+when+you+leave."
	request := fmt.Sprintf("POST /record HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\n\r\n%s", s.address, len(body), body)
	return load{s, connections, request, http.StatusCreated}
}

// get returns the load that reads a path.
func get(s *server, path string, connections int) load {
	return load{s, connections, fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, s.address), http.StatusOK}
}

// list returns the load that reads the newest messages.
func list(s *server, connections int) load { return get(s, "/?format=html", connections) }

// client is one of the connections. The client of net/http would take more of the same cores than the servers.
type client struct {
	load
	net.Conn
	reader *bufio.Reader
}

func (l load) dial() (*client, error) {
	conn, err := net.Dial("tcp", l.server.address)
	return &client{l, conn, bufio.NewReader(conn)}, err
}

// ask sends the request, and returns the body of the answer. The server has a minute for it.
func (c *client) ask() (io.Reader, error) {
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(c, c.request) // if this fails, so does reading
	answer, err := http.ReadResponse(c.reader, nil)
	if err == nil && answer.StatusCode != c.status {
		err = fmt.Errorf("%s\nis answered %s", c.request, answer.Status)
	}
	if err != nil {
		return nil, c.server.explain(err)
	}
	return answer.Body, nil
}

// exchange sends the request, and writes the body of the answer to w.
func (c *client) exchange(w io.Writer) error {
	body, err := c.ask()
	if err == nil {
		_, err = io.Copy(w, body)
	}
	return err
}

// once sends the request on a connection of its own, and writes the body of the answer to w.
func (l load) once(w io.Writer) error {
	c, err := l.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	return c.exchange(w)
}
