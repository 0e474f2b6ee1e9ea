package main

import (
	"io"
	"os/exec"
)

// recording measures POST /record.
func (b *bench) recording(s servers) { b.chart(s, "Recording", post) }

// listing measures GET / in a large database: the newest messages, then single requests, and at last beside recorders.
func (b *bench) listing(s servers) {
	b.chart(s, "Listing", list)
	b.single(s)
	r := b.compare(
		[]load{list(s.usual, 8)},
		[]load{list(s.daybook, 8)},
		[]load{list(s.usual, 8), post(s.usual, b.recorders)},
		[]load{list(s.daybook, 8), post(s.daybook, b.recorders)},
		[]load{get(s.daybook, "/?format=text", 64)},
	)
	b.table("Listing beside recording", "Requests", "The usual way", "Daybook")
	b.row("`GET /`, 8 connections", r[0], r[1])
	b.row("`GET /`, 8 connections, while 64 record", r[2], r[4])
	b.row("`POST /record`, 64 connections, while 8 list", r[3], r[5])
	b.row("`GET /` as text, 64 connections", "", r[6])
}

// chart measures a kind of request over all numbers of connections.
func (b *bench) chart(s servers, title string, ask func(s *server, connections int) load) {
	c := chart{Title: title, Connections: b.connections}
	b.table(title, "Connections", "Echo alone", "The usual way", "Daybook")
	for _, n := range b.connections {
		r := b.compare([]load{ask(s.echo, n)}, []load{ask(s.usual, n)}, []load{ask(s.daybook, n)})
		b.row(n, r[0], r[1], r[2])
		for i := range c.Lines {
			c.Lines[i] = append(c.Lines[i], r[i].perSecond)
		}
	}
	b.charts = append(b.charts, c)
}

// single measures what one client asks of many messages, and the sqlite3 command beside it.
func (b *bench) single(s servers) {
	b.table("Single requests", "What", "Time")
	for _, path := range []string{"/?all&format=text", "/?all&format=ndjson", "/?all&format=json", "/?q=gate", "/?q=heron"} {
		b.time("`GET "+path+"`", func() error { return get(s.daybook, path, 1).once(io.Discard) })
	}
	const what = "The `sqlite3` command, all messages through a pipe"
	if _, err := exec.LookPath("sqlite3"); err != nil {
		b.row(what, "not measured: there is no such command here")
		return
	}
	b.time(what, func() error {
		command := exec.Command("sqlite3", s.database, "SELECT id, value, recorded_at FROM messages")
		command.Stdout = io.Discard // it is no file, so there is a pipe
		return command.Run()
	})
}
