package views

import "net/http"

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

// JSON returns problem details (RFC 9457).
func (v Problem) JSON() any {
	return struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{http.StatusText(v.Status), v.Status, v.sentence()}
}

func (v Problem) sentence() string {
	if v.ID == "" {
		return v.Detail
	}
	return v.Detail + " In the log it is " + v.ID + "."
}
