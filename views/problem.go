package views

import (
	"net/http"
	"strconv"
)

// Problem shows why a request was not answered.
type Problem struct {
	Status int
	Detail string // a sentence about what happened or what to do
	ID     string // the request's, where the log has more to say
}

// AppendText appends the sentence.
func (v Problem) AppendText(dst []byte) []byte {
	return append(appendEscaped(dst, v.sentence()), '\n')
}

// AppendJSON appends problem details (RFC 9457).
func (v Problem) AppendJSON(dst []byte) []byte {
	dst = appendString(append(dst, `{"title":`...), http.StatusText(v.Status))
	dst = strconv.AppendInt(append(dst, `,"status":`...), int64(v.Status), 10)
	dst = appendString(append(dst, `,"detail":`...), v.sentence())
	return append(dst, '}')
}

func (v Problem) sentence() string {
	if v.ID == "" {
		return v.Detail
	}
	return v.Detail + " In the log it is " + v.ID + "."
}
