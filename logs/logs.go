// Package logs writes log lines so that requests do not wait while nobody reads the log, and so that a line cannot control a terminal.
package logs

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// maxQueued is how many bytes of log lines may wait to be written.
const maxQueued = 1 << 20

// Queue writes lines in the background. Use [NewQueue].
type Queue struct {
	to      io.Writer
	report  func(dropped int)
	writing sync.Mutex // is held while lines are written

	mu      sync.Mutex
	lines   []byte
	dropped int
}

// NewQueue returns a queue of lines for a writer. If it is full, it drops lines, and reports how many when writing succeeds again.
func NewQueue(to io.Writer, report func(dropped int)) *Queue { return &Queue{to: to, report: report} }

// Write queues a line, or drops it. It never waits, and never fails.
func (q *Queue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) == 0 {
		go q.flush() // at most one of these writes, and one waits for it
	} else if len(q.lines)+len(line) > maxQueued {
		q.dropped++
		return len(line), nil
	}
	q.lines = append(q.lines, line...)
	return len(line), nil
}

// flush writes the queued lines.
func (q *Queue) flush() {
	q.writing.Lock()
	defer q.writing.Unlock()
	q.mu.Lock()
	lines, dropped := escape(q.lines), q.dropped
	q.lines, q.dropped = nil, 0
	q.mu.Unlock()
	n, err := q.to.Write(lines)
	switch {
	case err != nil:
		q.mu.Lock()
		q.dropped += dropped + bytes.Count(lines[n:], []byte("\n"))
		q.mu.Unlock()
	case dropped > 0:
		q.report(dropped)
	}
}

// Close writes the queued lines, but gives up after a second.
func (q *Queue) Close() {
	written := make(chan struct{})
	go func() {
		q.flush()
		close(written)
	}()
	select {
	case <-written:
	case <-time.After(time.Second):
	}
}

// escape replaces characters that could control a terminal, or hide or reorder text, by \u and four hexadecimal digits. In slog's
// text there are none; in its JSON they are always inside a string, where this means the same character.
func escape(lines []byte) []byte {
	if !bytes.ContainsFunc(lines, unprintable) { // as almost always
		return lines
	}
	escaped := make([]byte, 0, len(lines))
	for _, r := range string(lines) {
		if !unprintable(r) {
			escaped = utf8.AppendRune(escaped, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			escaped = fmt.Appendf(escaped, `\u%04x`, unit)
		}
	}
	return escaped
}

func unprintable(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
