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

// held is an http.ResponseWriter that keeps a response until the transaction has ended.
//
// Headers are the exception: nobody sees them before the status is written, so they are set where they belong, and only what
// was there before is kept, to be put back if the response is dropped. To copy one map into another twice costs more.
type held struct {
	to         http.ResponseWriter
	before     []field
	status     int           // 0 until it is written
	body       *bytes.Buffer // nil when the request is over
	max        int
	overflowed bool // more than max was written
	streams    bool // rather than overflowing: for reading, there is no commit to wait for
	streaming  bool // it holds nothing any more
}

// bodies are buffers that are used again. To allocate one for each page of a list made a sixth of the garbage.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// errOver is the error of writing when the request is over.
var errOver = errors.New("transaction: the request is over")

// field is a header, with its values.
type field struct {
	name   string
	values []string
}

// hold returns a writer that begins with the headers that to has so far.
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

// WriteHeader sets the status. One of 1xx is not the answer yet, and is not sent.
func (h *held) WriteHeader(status int) {
	if h.status != 0 || status < http.StatusOK {
		return
	}
	h.status = status
	if h.streaming {
		h.to.WriteHeader(status)
	}
}

func (h *held) Write(b []byte) (int, error) {
	if h.body == nil {
		return 0, errOver
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

// FlushError sends what there is to the client, of a reading request. That of a writing one stays until COMMIT.
func (h *held) FlushError() error {
	if h.body == nil {
		return errOver
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

// Unwrap returns the client's writer if nothing is held back from it, and otherwise nothing: there is no way around.
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

// stream lets the response go while it is still being written.
func (h *held) stream() error {
	h.streams, h.streaming = true, true
	return h.send()
}

// release lets the whole response go.
func (h *held) release() error {
	if h.streaming {
		return nil
	}
	if h.status != 0 && bodyAllowed(h.status) && h.Header().Get("Content-Length") == "" {
		h.Header().Set("Content-Length", strconv.Itoa(h.body.Len()))
	}
	return h.send()
}

// send lets go what is held.
func (h *held) send() error {
	if h.status == 0 {
		return nil // net/http sends an empty 200
	}
	h.to.WriteHeader(h.status)
	if h.body.Len() == 0 {
		return nil
	}
	_, err := h.to.Write(h.body.Bytes())
	return err
}

// sent reports whether the client has the beginning of the response.
func (h *held) sent() bool {
	return h.streaming && h.status != 0
}

// drop forgets the response, its headers included. One that has been sent in part is broken off, so that the client does not
// take it for the whole.
func (h *held) drop() {
	if h.sent() {
		if err := http.NewResponseController(h.to).SetWriteDeadline(time.Unix(1, 0)); err != nil {
			panic(http.ErrAbortHandler) // a writer without deadlines knows no other way
		}
		return
	}
	header := h.Header()
	clear(header)
	for _, field := range h.before {
		header[field.name] = field.values
	}
}

// free gives the buffer to the next request.
func (h *held) free() {
	h.body.Reset()
	bodies.Put(h.body)
	h.body = nil
}

// bodyAllowed reports whether a response with the status may have a body (RFC 9110, section 6.4.1).
func bodyAllowed(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}
