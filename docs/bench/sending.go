package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"time"
)

// sending is what all messages at once meet, in messages a second: as Daybook sends them in each format, and as the sqlite3
// command writes them into a pipe.
type sending struct {
	text, ndjson, json, command result
	not                         string // why there is no command
	peak                        int    // the most memory in bytes that the server has had resident
}

// measureSending measures GET /?all.
func (b *bench) measureSending(ctx context.Context) error {
	if err := b.fill(ctx, "whole.db", b.whole); err != nil {
		return err
	}
	server := b.ours("whole.db")
	if err := b.serve(ctx, server); err != nil {
		return err
	}
	type way struct {
		name string
		met  *result
		send func(context.Context) error
	}
	ways := []way{
		{"ours as text", &b.sending.text, server.all("text")},
		{"ours as NDJSON", &b.sending.ndjson, server.all("ndjson")},
		{"ours as JSON", &b.sending.json, server.all("json")},
	}
	if _, err := exec.LookPath("sqlite3"); err != nil {
		b.sending.not = "it takes the sqlite3 command"
	} else {
		ways = append(ways, way{"sqlite3", &b.sending.command, selectAll(b.path("whole.db"))})
	}
	rounds := make([][]time.Duration, b.rounds)
	for i := range rounds {
		for _, way := range ways {
			begin := time.Now()
			if err := way.send(ctx); err != nil {
				return fmt.Errorf("send all: %s: %w", way.name, err)
			}
			rounds[i] = append(rounds[i], time.Since(begin))
		}
	}
	for i, way := range ways {
		taken := median(rounds, func(round []time.Duration) time.Duration { return round[i] })
		way.met.perSecond = float64(b.whole) / taken.Seconds()
		fmt.Fprintf(b.progress, "send all: %s %s/s\n", way.name, count(way.met.perSecond))
	}
	b.sending.peak = server.peak()
	return nil
}

// all returns a function that has the server send all messages.
func (s *server) all(format string) func(context.Context) error {
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/?all&format="+format, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return s.explain(fmt.Errorf("it answered %s", response.Status))
		}
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
}

// selectAll returns a function that has the sqlite3 command write all messages of the file into a pipe.
func selectAll(path string) func(context.Context) error {
	return func(ctx context.Context) error {
		command := exec.CommandContext(ctx, "sqlite3", path, "SELECT id, value, recorded_at FROM messages")
		command.Stdout = io.Discard // which is no file, and so there is a pipe
		return command.Run()
	}
}
