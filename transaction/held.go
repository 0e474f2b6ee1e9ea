package transaction

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"
)

// maxHeld is how many bytes of a response are held. It bounds what a request can make the server keep.
const maxHeld = 1 << 20

// ErrResponseTooLarge is the error of a writing request whose response exceeds 1 MiB, the most that is held until
// COMMIT. It fails as a whole.
var ErrResponseTooLarge = errors.New("transaction: the response is too large to be held until the commit")

// held is an http.ResponseWriter that keeps a response until the transaction has ended. It has no Unwrap and no
// Hijack, which would be ways around it.
type held struct {
	to         *echo.Response
	header     http.Header
	status     int // 0 until it is written
	body       bytes.Buffer
	streams    bool // rather than failing when it is full: for reading, there is no commit to wait for
	streaming  bool
	overflowed bool
}

// hold returns a writer that begins with the headers that to has so far.
func hold(to *echo.Response, streams bool) *held {
	return &held{to: to, header: to.Header().Clone(), streams: streams}
}

func (h *held) Header() http.Header {
	return h.header
}

func (h *held) WriteHeader(status int) {
	if h.status == 0 && status >= http.StatusOK { // 1xx is not the answer yet
		h.status = status
	}
}

func (h *held) Write(b []byte) (int, error) {
	if h.status == 0 {
		h.status = http.StatusOK
	}
	if h.streaming {
		return h.to.Write(b)
	}
	if h.body.Len()+len(b) <= maxHeld {
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

// Flush sends what there is to the client, of a reading request. That of a writing one stays until COMMIT.
func (h *held) Flush() {
	if !h.streams {
		return
	}
	if h.streaming || h.stream() == nil {
		h.to.Flush()
	}
}

// stream lets the response go while it is still being written.
func (h *held) stream() error {
	h.streaming = true
	return h.send()
}

// release lets the whole response go.
func (h *held) release() error {
	if h.streaming {
		return nil
	}
	if h.status != 0 && bodyAllowed(h.status) && h.header.Get(echo.HeaderContentLength) == "" {
		h.header.Set(echo.HeaderContentLength, strconv.Itoa(h.body.Len()))
	}
	return h.send()
}

// sendHeaders gives the response the headers that were held.
func (h *held) sendHeaders() {
	header := h.to.Header()
	clear(header)
	maps.Copy(header, h.header)
	h.header = header // for what is set from now on
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

// bodyAllowed reports whether a response with the status may have a body (RFC 9110, section 6.4.1).
func bodyAllowed(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}
