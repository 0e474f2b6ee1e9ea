package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"time"
)

// listening is what those meet who follow what is recorded.
type listening struct {
	listeners     int
	few           string        // why there are no more of them
	apiece        int           // bytes of the server's memory for each, or 0 where no /proc tells
	median, worst time.Duration // from sending a message until the last listener has it
}

const (
	told   = 20  // messages that the listeners are told
	others = 100 // files that a process has open besides its listeners
)

// measureListening measures GET /live.
func (b *bench) measureListening(ctx context.Context) error {
	server := b.ours("live.db")
	server.name = "live" // its memory is a row of its own
	if err := b.serve(ctx, server); err != nil {
		return err
	}
	l := &b.listening
	l.listeners = b.listeners
	if files := server.files(); files > 0 && files-others < l.listeners { // Go has raised the limit as far as it may
		l.listeners, l.few = max(1, files-others), fmt.Sprintf("; a process can open no more than %s files here", count(files))
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	a := &audience{server: server, heard: make(chan struct{}, l.listeners), fail: fail}
	before := 0
	for range l.listeners {
		if err := a.join(ctx); err != nil {
			return server.explain(err)
		}
		if a.size == 1 { // now all is there that does not depend on how many listen
			if _, err := a.tell(ctx); err != nil {
				return server.explain(err)
			}
			before = server.resident()
		}
	}
	var taken []time.Duration
	for range told {
		t, err := a.tell(ctx)
		if err != nil {
			return server.explain(err)
		}
		taken = append(taken, t)
	}
	l.apiece = (server.resident() - before) / l.listeners
	l.median, l.worst = median(taken, itself), slices.Max(taken)
	fmt.Fprintf(b.progress, "live: %d listeners, %d bytes apiece, told in %s, in %s at worst\n",
		l.listeners, l.apiece, latency(l.median), latency(l.worst))
	return nil
}

// audience is the listeners of a server.
type audience struct {
	server *server
	size   int
	heard  chan struct{} // has one for each listener that has had a message
	fail   context.CancelCauseFunc
}

// join adds a listener, as a browser is one.
func (a *audience) join(ctx context.Context) error {
	conn, err := net.Dial("tcp", a.server.address)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "GET /live HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", a.server.address); err != nil {
		return err
	}
	reader := bufio.NewReader(conn)
	status, err := reader.ReadString('\n')
	if err != nil {
		return err
	}
	if status != "HTTP/1.1 200 OK\r\n" {
		return fmt.Errorf("following is answered %q", status)
	}
	for line := ""; line != ":\n"; { // the first heartbeat: it is listening
		if line, err = reader.ReadString('\n'); err != nil {
			return err
		}
	}
	a.size++
	go func() {
		for {
			line, err := reader.ReadSlice('\n')
			if err != nil {
				a.fail(fmt.Errorf("a listener: %w", err))
				return
			}
			if bytes.HasPrefix(line, []byte("id: ")) {
				a.heard <- struct{}{}
			}
		}
	}()
	return nil
}

// tell records a message, and returns how long it takes until each listener has had it.
func (a *audience) tell(ctx context.Context) (time.Duration, error) {
	message := post(a.server, 1)
	begin := time.Now()
	c, err := dial(a.server.address, message.status, begin.Add(patience))
	if err != nil {
		return 0, err
	}
	defer c.conn.Close()
	if err := c.exchange(message.request); err != nil {
		return 0, err
	}
	for range a.size {
		select {
		case <-a.heard:
		case <-time.After(patience):
			return 0, fmt.Errorf("not all listeners have had a message within %s", patience)
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return time.Since(begin), nil
}
