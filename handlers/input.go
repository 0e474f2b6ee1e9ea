package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"daybook/book"
	"daybook/ent/schema"
)

// submission is what a client wants to record.
type submission struct {
	value string
	key   string // the idempotency key, or empty
}

// readSubmission reads the message from the body or, without a body, from the address.
func readSubmission(r *http.Request) (submission, error) {
	body, err := io.ReadAll(r.Body)
	if refused := (*echo.HTTPError)(nil); errors.As(err, &refused) {
		return submission{}, refused // by limitBody: too large, too slow, or not its turn
	}
	if err != nil {
		return submission{}, refuse(http.StatusBadRequest, "The body ended before it was complete.").SetInternal(err)
	}
	s, err := parse(r, body)
	if err != nil {
		return submission{}, err
	}
	return s.withKeyOf(r)
}

// parse parses the body by its type.
func parse(r *http.Request, body []byte) (submission, error) {
	if len(body) == 0 {
		s, _, err := fromFields(r.URL.RawQuery)
		return s, err
	}
	// With a type that cannot be parsed, the body is the message, as with any other.
	mediaType, params, _ := mime.ParseMediaType(r.Header.Get(echo.HeaderContentType))
	switch mediaType {
	case echo.MIMEApplicationJSON:
		return fromJSON(body)
	case echo.MIMEMultipartForm:
		return fromMultipart(body, params["boundary"])
	case echo.MIMEApplicationForm:
		// curl -d 'hello world' gives the body this type, although it has no fields: then it is the message.
		if s, found, err := fromFields(string(body)); found || err != nil {
			return s, err
		}
	}
	return submission{value: withoutFinalNewline(string(body))}, nil
}

// withKeyOf returns the submission with the key in the request's header, if there is one. It leaves the message and its key in the
// request's PostForm, from which the form is shown again if the request fails, be it at the commit.
func (s submission) withKeyOf(r *http.Request) (submission, error) {
	r.PostForm = url.Values{"msg": {s.value}}
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		s.key = key
	}
	if !book.ValidKey(s.key) {
		return submission{}, refuse(http.StatusBadRequest, "An idempotency key is text of at most %d bytes.", book.MaxKey)
	}
	r.PostForm.Set("key", s.key)
	return s, nil
}

// fromFields reads an urlencoded form or query. Without a field msg, it is not a form of ours.
func fromFields(encoded string) (s submission, found bool, err error) {
	value, found, err := field(encoded, "msg")
	if !found || err != nil {
		return submission{}, false, err
	}
	key, _, err := field(encoded, "key")
	return submission{lineBreaks(value), key}, true, err
}

// field returns a field of a form or query. url.ParseQuery would drop a field with a semicolon, which people write.
func field(encoded, name string) (value string, found bool, err error) {
	for pair := range strings.SplitSeq(encoded, "&") {
		encodedName, encodedValue, isField := strings.Cut(pair, "=")
		if decoded, err := url.QueryUnescape(encodedName); !isField || err != nil || decoded != name {
			continue
		}
		if found {
			return "", false, refuse(http.StatusBadRequest, "There is more than one %s.", name)
		}
		found = true
		if value, err = url.QueryUnescape(encodedValue); err != nil {
			return "", false, refuse(http.StatusBadRequest,
				"The field %s is not percent-encoded. With curl, use --data-urlencode.", name).SetInternal(err)
		}
	}
	return value, found, nil
}

func fromMultipart(body []byte, boundary string) (submission, error) {
	values := map[string][]string{}
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := parts.NextPart()
		if err == io.EOF {
			break
		}
		var value []byte
		if err == nil {
			value, err = io.ReadAll(part)
		}
		if err != nil {
			return submission{}, refuse(http.StatusBadRequest, "The form is malformed or incomplete.").SetInternal(err)
		}
		values[part.FormName()] = append(values[part.FormName()], string(value))
	}
	if n := len(values["msg"]); n != 1 {
		return submission{}, refuse(http.StatusUnprocessableEntity, "The form must have one field msg, and has %d.", n)
	}
	if len(values["key"]) > 1 {
		return submission{}, refuse(http.StatusBadRequest, "There is more than one key.")
	}
	return submission{lineBreaks(values["msg"][0]), strings.Join(values["key"], "")}, nil
}

func fromJSON(body []byte) (submission, error) {
	if !utf8.Valid(body) {
		return submission{}, schema.NotUTF8 // json.Unmarshal would replace what is not by U+FFFD
	}
	var object struct{ Msg *string }
	if err := json.Unmarshal(body, &object); err != nil {
		return submission{}, refuse(http.StatusBadRequest, `The body is not JSON like {"msg":"hello world"}.`).SetInternal(err)
	}
	if object.Msg == nil {
		return submission{}, refuse(http.StatusUnprocessableEntity, `The JSON has no msg, as in {"msg":"hello world"}.`)
	}
	if book.HalfPair(body) {
		return submission{}, schema.NotUTF8
	}
	return submission{value: *object.Msg}, nil
}

// lineBreaks undoes what browsers do to a form: they send a line break in a text area as \r\n.
func lineBreaks(value string) string { return strings.ReplaceAll(value, "\r\n", "\n") }

// withoutFinalNewline drops the newline, LF or CRLF, that an editor or echo leaves at the end of a body.
func withoutFinalNewline(body string) string {
	if line, found := strings.CutSuffix(body, "\r\n"); found {
		return line
	}
	return strings.TrimSuffix(body, "\n")
}
