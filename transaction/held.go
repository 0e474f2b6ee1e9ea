package transaction

import (
	"bytes"
	"maps"
	"net/http"
	"strconv"
)

// held is an http.ResponseWriter that keeps a response until the transaction has ended.
type held struct {
	to         http.ResponseWriter
	header     http.Header
	status     int // 0 until it is written
	body       bytes.Buffer
	max        int
	overflowed bool // more than max was written
	streams    bool // rather than overflowing: for reading, there is no commit to wait for
	streaming  bool // it holds nothing any more
}

// hold returns a writer that begins with the headers that to has so far.
func hold(to http.ResponseWriter, max int, streams bool) *held {
	return &held{to: to, header: to.Header().Clone(), max: max, streams: streams}
}

// Header returns the headers of the held response.
func (h *held) Header() http.Header {
	return h.header
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
	if h.status != 0 && bodyAllowed(h.status) && h.header.Get("Content-Length") == "" {
		h.header.Set("Content-Length", strconv.Itoa(h.body.Len()))
	}
	return h.send()
}

// send lets go what is held.
func (h *held) send() error {
	h.sendHeaders()
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

// sendHeaders gives the response the headers that were held.
func (h *held) sendHeaders() {
	header := h.to.Header()
	clear(header)
	maps.Copy(header, h.header)
	h.header = header // for what is set from now on
}

// bodyAllowed reports whether a response with the status may have a body (RFC 9110, section 6.4.1).
func bodyAllowed(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}
