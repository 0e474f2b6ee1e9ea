package transaction

import (
	"bytes"
	"io"
)

// replay lets a body be read once for each attempt, by keeping what was read of it.
type replay struct {
	body io.ReadCloser
	kept bytes.Buffer
	max  int
	past bool // more than max was read: there is no second time
}

// reader is the body, from its beginning, for one attempt.
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
	if r.past = r.past || r.kept.Len()+n > r.max; !r.past {
		r.kept.Write(b[:n])
		r.at += n
	}
	return n, err
}

// Close leaves the body to net/http, which closes it when the request has ended.
func (r *reader) Close() error {
	return nil
}
