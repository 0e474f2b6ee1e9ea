package transaction

import (
	"bytes"
	"io"
)

// replay lets each attempt read the request's body from its beginning: it keeps what was read.
type replay struct {
	body     io.ReadCloser
	kept     bytes.Buffer
	max      int
	exceeded bool // more than max was read, so the body cannot be read again
}

// reader reads the body for one attempt.
type reader struct {
	*replay
	at int
}

func (r *reader) Read(b []byte) (int, error) {
	if kept := r.kept.Bytes(); r.at < len(kept) {
		n := copy(b, kept[r.at:])
		r.at += n
		return n, nil
	}
	n, err := r.body.Read(b)
	if r.exceeded = r.exceeded || r.kept.Len()+n > r.max; !r.exceeded {
		r.kept.Write(b[:n])
		r.at += n
	}
	return n, err
}

// Close does nothing: net/http closes the body when the request has ended, and the next attempt needs it.
func (r *reader) Close() error {
	return nil
}
