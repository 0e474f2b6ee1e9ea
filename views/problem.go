package views

import (
	"net/http"
	"strconv"
)

// Problem shows why a request failed.
type Problem struct {
	Status int
	Detail string // a sentence: what happened, or what to do
	ID     string // the request's ID in the log, if the log has more about it
}

// AppendText appends the sentence.
func (v Problem) AppendText(dst []byte) []byte { return append(appendEscaped(dst, v.sentence()), '\n') }

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
	return v.Detail + " The server's log has the details under " + v.ID + "."
}

// Form shows the form alone: to fill in, to confirm, or to correct a refused message. Its text and JSON are the Problem's.
type Form struct {
	Problem        // why nothing was recorded, if it has a Detail
	Value   string // the text in the form
	Key     string // the idempotency key: a form that is sent twice records once
}

// confirms reports whether the form asks to confirm a message that came with an address.
func (v Form) confirms() bool { return v.Value != "" && v.Detail == "" }
