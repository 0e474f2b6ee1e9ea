package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// maxQueued is how many bytes of log lines may wait to be written.
const maxQueued = 1 << 20

// logQueue writes log lines in the background, so that requests do not wait while nobody reads the log. If the queue is full,
// it drops lines, and logs how many when writing succeeds again.
type logQueue struct {
	to      io.Writer
	direct  *slog.Logger // logs to the same writer, but without the queue
	dropped atomic.Int64
	writing sync.Mutex // is held while lines are written

	mu    sync.Mutex
	lines []byte
}

// Write queues a line, or drops it. It never waits, and never fails.
func (q *logQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) == 0 {
		go q.flush() // at most one of these writes, and one waits for it
	} else if len(q.lines)+len(line) > maxQueued {
		q.dropped.Add(1)
		return len(line), nil
	}
	q.lines = append(q.lines, line...)
	return len(line), nil
}

// flush writes the queued lines.
func (q *logQueue) flush() {
	q.writing.Lock()
	defer q.writing.Unlock()
	q.mu.Lock()
	lines, dropped := q.lines, q.dropped.Swap(0)
	q.lines = nil
	q.mu.Unlock()
	lines = escape(lines)
	if n, err := q.to.Write(lines); err != nil {
		q.dropped.Add(dropped + int64(bytes.Count(lines[n:], []byte("\n"))))
	} else if dropped > 0 {
		q.direct.Warn("log lines were dropped because they could not be written", "lines", dropped)
	}
}

// Close writes the queued lines, but gives up after a second.
func (q *logQueue) Close() {
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

// escape replaces characters that could control a terminal or hide or reorder text by \u and four hexadecimal digits. slog's text
// format has escaped them already; in its JSON they are always inside a string, where this means the same character.
func escape(lines []byte) []byte {
	escaped := make([]byte, 0, len(lines))
	for _, r := range string(lines) {
		if r == '\n' || unicode.IsPrint(r) {
			escaped = utf8.AppendRune(escaped, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			escaped = fmt.Appendf(escaped, `\u%04x`, unit)
		}
	}
	return escaped
}
