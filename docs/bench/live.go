package main

import (
	"bufio"
	"io"
	"strings"
)

// listening measures GET /live: the memory of a listener, and the time until all listeners have a message.
func (b *bench) listening(s servers) {
	n := b.listeners
	if files := s.daybook.proc("limits", "Max open files"); files < float64(n+100) {
		n = int(files) - 100 // Daybook and this program need some for other things
	}
	before := s.daybook.proc("status", "VmRSS:")
	heard := make(chan error, 2*n)
	for range n {
		go listen(s.daybook, heard)
		b.fail(<-heard)
	}
	b.table("Memory and listeners", "What", "Measured")
	b.time(english.Sprintf("The time until each of %d listeners has a message", n), func() error {
		err := post(s.daybook, 1).once(io.Discard)
		for i := 0; i < n && err == nil; i++ {
			err = <-heard
		}
		return err
	})
	grown := s.daybook.proc("status", "VmRSS:") - before
	b.row("The memory that Daybook takes for a listener", english.Sprintf("%.1f KB", grown*1.024/float64(n)))
	b.row("The largest memory of Daybook in all other measurements", english.Sprintf("%.1f MB", b.largest*1.024/1000))
}

// listen is a listener. It sends nil when it listens and for each message, and an error when it ends.
func listen(s *server, heard chan<- error) {
	c, err := get(s, "/live?format=events", 1).dial()
	if err != nil {
		heard <- err
		return
	}
	body, err := c.ask()
	heard <- err
	for lines := bufio.NewScanner(body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "id: ") {
			heard <- nil
		}
	}
	heard <- s.explain(io.ErrUnexpectedEOF)
}
