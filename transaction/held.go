package transaction

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
)

// held is an http.ResponseWriter that keeps a response in memory until the transaction has ended. Headers are set directly on
// the client's writer, because nothing sends them before the status.
type held struct {
	http.ResponseWriter               // the client's
	before              [][]string    // the headers when the attempt began, for drop: of each its name and its values
	status              int           // 0 until it is written
	body                *bytes.Buffer // nil when the response has ended
	max                 int
	overflowed          bool // more than max was written
	streams             bool // a response larger than max is streamed: a reading request has no COMMIT to wait for
	streaming           bool // what is written goes directly to the client
}

// bodies are reused, because a new buffer for each page of a list made a sixth of the garbage.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// WriteHeader sets the status. It ignores informational ones (1xx), which are not the answer.
func (h *held) WriteHeader(status int) {
	if h.status != 0 || status < http.StatusOK || h.body == nil {
		return
	}
	h.status = status
	if h.streaming {
		h.ResponseWriter.WriteHeader(status)
	}
}

func (h *held) Write(b []byte) (int, error) {
	if h.body == nil {
		return 0, errEnded
	}
	h.WriteHeader(http.StatusOK) // unless there is a status
	if !h.streaming && h.body.Len()+len(b) > h.max {
		if !h.streams {
			h.overflowed = true
			return 0, ErrResponseTooLarge
		}
		if err := h.send(); err != nil {
			return 0, err
		}
	}
	if h.streaming {
		return h.ResponseWriter.Write(b)
	}
	return h.body.Write(b)
}

// FlushError sends what a reading request has written. A writing request's response stays until COMMIT.
func (h *held) FlushError() error {
	if h.body == nil {
		return errEnded
	}
	if !h.streams {
		return nil
	}
	h.WriteHeader(http.StatusOK) // unless there is a status
	if err := h.send(); err != nil {
		return err
	}
	return http.NewResponseController(h.ResponseWriter).Flush()
}

// Unwrap returns the client's writer only while the response streams: http.ResponseController must not bypass a held one.
func (h *held) Unwrap() http.ResponseWriter {
	if h.streaming {
		return h.ResponseWriter
	}
	return nil
}

// release sends the whole response. If there is none, net/http sends an empty 200.
func (h *held) release() error {
	noBody := []int{0, http.StatusNoContent, http.StatusNotModified} // RFC 9110, section 6.4.1
	if !h.streaming && !slices.Contains(noBody, h.status) && h.Header().Get("Content-Length") == "" {
		h.Header().Set("Content-Length", strconv.Itoa(h.body.Len()))
	}
	return h.send()
}

// send sends what is held, and lets later writes go directly to the client.
func (h *held) send() error {
	if h.streaming {
		return nil
	}
	h.streams, h.streaming = true, true
	if h.status != 0 {
		h.ResponseWriter.WriteHeader(h.status)
	}
	if h.body.Len() == 0 {
		return nil
	}
	_, err := h.ResponseWriter.Write(h.body.Bytes())
	return err
}

// drop removes the response's headers.
func (h *held) drop() {
	clear(h.Header())
	for _, field := range h.before {
		h.Header()[field[0]] = field[1:]
	}
}

// free returns the buffer to the pool.
func (h *held) free() {
	h.body.Reset()
	bodies.Put(h.body)
	h.body = nil
}

// replay lets each attempt read the request's body from its beginning: it keeps what was read.
type replay struct {
	body  io.Reader
	kept  bytes.Buffer // longer than max if more was read: then the body cannot be read again
	again bytes.Reader // the part of kept that the attempt has not read
	max   int
}

// rewind returns the body from its beginning. Its Close does nothing: net/http closes the body when the request has ended.
func (r *replay) rewind() io.ReadCloser {
	r.again.Reset(r.kept.Bytes())
	return io.NopCloser(r)
}

func (r *replay) Read(b []byte) (int, error) {
	if r.again.Len() > 0 {
		return r.again.Read(b)
	}
	n, err := r.body.Read(b)
	if r.kept.Len() <= r.max {
		r.kept.Write(b[:n])
	}
	return n, err
}
