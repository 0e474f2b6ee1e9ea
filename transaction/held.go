package transaction

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// held is an http.ResponseWriter that keeps a response in memory until the transaction has ended.
//
// Headers are set directly on the client's writer, because nothing sends them before the status. A copy of what was there
// before is kept, and is put back if the response is dropped. Copying one map into the other twice would cost more.
type held struct {
	to         http.ResponseWriter
	before     []field
	status     int           // 0 until it is written
	body       *bytes.Buffer // nil when the request has ended
	max        int
	overflowed bool // more than max was written
	streams    bool // a response larger than max is streamed: a reading request has no COMMIT to wait for
	streaming  bool // writes go directly to the client
	sent       bool // the client's writer has the status
}

// bodies are reused, because a new buffer for each page of a list made a sixth of the garbage.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// errEnded is the error of a write after the request has ended.
var errEnded = errors.New("transaction: the request has ended")

// field is a header field with its values.
type field struct {
	name   string
	values []string
}

// hold returns a writer that starts with the headers that to has now.
func hold(to http.ResponseWriter, max int, streams bool) *held {
	header := to.Header()
	before := make([]field, 0, len(header))
	for name, values := range header {
		before = append(before, field{name, slices.Clone(values)})
	}
	return &held{to: to, before: before, body: bodies.Get().(*bytes.Buffer), max: max, streams: streams}
}

// Header returns the headers of the response.
func (h *held) Header() http.Header {
	return h.to.Header()
}

// WriteHeader sets the status. It ignores informational ones (1xx), which are not the answer.
func (h *held) WriteHeader(status int) {
	if h.status != 0 || status < http.StatusOK {
		return
	}
	h.status = status
	if h.streaming {
		h.sendStatus()
	}
}

func (h *held) Write(b []byte) (int, error) {
	if h.body == nil {
		return 0, errEnded
	}
	if h.status == 0 {
		h.WriteHeader(http.StatusOK)
	}
	if h.streaming {
		return h.to.Write(b)
	}
	if h.body.Len()+len(b) <= h.max {
		return h.body.Write(b)
	}
	if !h.streams {
		h.overflowed = true
		return 0, ErrResponseTooLarge
	}
	if err := h.stream(); err != nil {
		return 0, err
	}
	return h.to.Write(b)
}

// FlushError sends a reading request's response as far as it is written. That of a writing request stays until COMMIT.
func (h *held) FlushError() error {
	if h.body == nil {
		return errEnded
	}
	if !h.streams {
		return nil
	}
	if h.status == 0 {
		h.WriteHeader(http.StatusOK)
	}
	if !h.streaming {
		if err := h.stream(); err != nil {
			return err
		}
	}
	return http.NewResponseController(h.to).Flush()
}

// Unwrap returns the client's writer only while the response streams. Otherwise http.ResponseController could send past the
// held response.
func (h *held) Unwrap() http.ResponseWriter {
	if h.streaming {
		return h.to
	}
	return nil
}

// refused reports whether the response says that the request failed.
func (h *held) refused() bool {
	return h.status >= http.StatusBadRequest
}

// stream sends what is held, and lets later writes go directly to the client.
func (h *held) stream() error {
	h.streams, h.streaming = true, true
	return h.send()
}

// release sends the whole response.
func (h *held) release() error {
	if h.streaming {
		return nil
	}
	if h.status != 0 && bodyAllowed(h.status) && h.Header().Get("Content-Length") == "" {
		h.Header().Set("Content-Length", strconv.Itoa(h.body.Len()))
	}
	return h.send()
}

// send sends what is held.
func (h *held) send() error {
	if h.status == 0 {
		return nil // net/http sends an empty 200
	}
	h.sendStatus()
	if h.body.Len() == 0 {
		return nil
	}
	_, err := h.to.Write(h.body.Bytes())
	return err
}

func (h *held) sendStatus() {
	h.sent = true
	h.to.WriteHeader(h.status)
}

// drop discards the response with its headers. If a part of it has been sent, it closes the connection, so that the client
// does not take the part for the whole.
func (h *held) drop() {
	if h.sent {
		err := http.NewResponseController(h.to).SetWriteDeadline(time.Unix(1, 0))
		if errors.Is(err, http.ErrNotSupported) {
			panic(http.ErrAbortHandler) // the only other way
		}
		return // any other error means that the connection is closed already
	}
	header := h.Header()
	clear(header)
	for _, field := range h.before {
		header[field.name] = field.values
	}
}

// free returns the buffer to the pool.
func (h *held) free() {
	h.body.Reset()
	bodies.Put(h.body)
	h.body = nil
}

// bodyAllowed reports whether a response with the status may have a body (RFC 9110, section 6.4.1).
func bodyAllowed(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}
