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

	"daybook/ent/schema"
)

// submission is what a client wants to record.
type submission struct {
	value string
	key   string // to record it with only once; empty if it has none
}

// readSubmission reads the message in whichever way it was sent: as the field msg of a form or of a JSON object, as the
// body itself, or, when there is no body, in the address. Its key is the header's, or a form's field.
func readSubmission(r *http.Request) (submission, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return submission{}, unreadable(err)
	}
	s, err := parse(r, body)
	if err != nil {
		return submission{}, err
	}
	return s.withKeyOf(r)
}

// parse reads the body by its type.
func parse(r *http.Request, body []byte) (submission, error) {
	if len(body) == 0 {
		s, _, err := fromFields(r.URL.RawQuery)
		return s, err
	}
	// A type that cannot be read is none, and then the body is the message.
	mediaType, params, _ := mime.ParseMediaType(r.Header.Get(echo.HeaderContentType))
	switch mediaType {
	case echo.MIMEApplicationJSON:
		return fromJSON(body)
	case echo.MIMEMultipartForm:
		return fromMultipart(body, params["boundary"])
	case echo.MIMEApplicationForm:
		// What curl -d 'hello world' sends is said to be a form, but has no field msg: it is the message.
		if s, found, err := fromFields(string(body)); found || err != nil {
			return s, err
		}
	}
	return submission{value: withoutFinalNewline(string(body))}, nil
}

// maxKey is how many bytes a key may have.
const maxKey = 255

// withKeyOf returns the submission with the key of the request's header, if there is one.
func (s submission) withKeyOf(r *http.Request) (submission, error) {
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		s.key = key
	}
	if len(s.key) > maxKey || !utf8.ValidString(s.key) || strings.ContainsRune(s.key, 0) {
		return submission{}, refuse(http.StatusBadRequest, "An idempotency key is text of at most %d bytes.", maxKey)
	}
	return s, nil
}

// unreadable says why a body could not be read to its end.
func unreadable(err error) error {
	var refused *echo.HTTPError // by the limit of the body
	if errors.As(err, &refused) {
		return refused
	}
	return refuse(http.StatusBadRequest, "The body ended before it was complete.").SetInternal(err)
}

// fromFields reads an urlencoded form or query, and reports whether it has a field msg.
func fromFields(encoded string) (s submission, found bool, err error) {
	s.value, found, err = field(encoded, "msg")
	if !found || err != nil {
		return submission{}, false, err // it is no form of ours, whatever it has for a key
	}
	s.value = lineBreaks(s.value)
	s.key, _, err = field(encoded, "key")
	return s, true, err
}

// field returns a field of an urlencoded form or query, and whether there is one. It is not url.ParseQuery, because that drops
// a field with a semicolon in it, which people write.
func field(encoded, name string) (value string, found bool, err error) {
	for pair := range strings.SplitSeq(encoded, "&") {
		encodedValue, has := strings.CutPrefix(pair, name+"=")
		if !has {
			continue
		}
		if found {
			return "", false, refuse(http.StatusBadRequest, "There is more than one %s.", name)
		}
		value, err = url.QueryUnescape(encodedValue)
		if err != nil {
			return "", false, refuse(http.StatusBadRequest,
				"The field %s is not percent-encoded: with curl, use --data-urlencode.", name).SetInternal(err)
		}
		found = true
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
		if err != nil {
			return submission{}, brokenForm(err)
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return submission{}, brokenForm(err)
		}
		values[part.FormName()] = append(values[part.FormName()], string(value))
	}
	if n := len(values["msg"]); n != 1 {
		return submission{}, refuse(http.StatusUnprocessableEntity, "The form has %d fields msg instead of one.", n)
	}
	return submission{value: lineBreaks(values["msg"][0]), key: strings.Join(values["key"], "")}, nil
}

func brokenForm(err error) error {
	return refuse(http.StatusBadRequest, "The form is broken or incomplete.").SetInternal(err)
}

func fromJSON(body []byte) (submission, error) {
	if !utf8.Valid(body) {
		return submission{}, schema.NotUTF8 // json.Unmarshal would put U+FFFD in place of what is not
	}
	var object struct{ Msg *string }
	if err := json.Unmarshal(body, &object); err != nil {
		return submission{}, refuse(http.StatusBadRequest, `The body is not JSON like {"msg":"hello world"}.`).SetInternal(err)
	}
	if object.Msg == nil {
		return submission{}, refuse(http.StatusUnprocessableEntity, `The JSON has no msg, as in {"msg":"hello world"}.`)
	}
	if replacements(*object.Msg) > replacements(string(body))+strings.Count(strings.ToLower(string(body)), `\ufffd`) {
		return submission{}, schema.NotUTF8 // half a surrogate pair, such as \ud83d alone, which it replaces likewise
	}
	return submission{value: *object.Msg}, nil
}

// replacements counts U+FFFD, which stands for what could not be read.
func replacements(text string) int {
	return strings.Count(text, "\ufffd")
}

// lineBreaks undoes how forms spell a line break on the wire: the text in a text area has \n, and is sent with \r\n.
func lineBreaks(value string) string {
	return strings.ReplaceAll(value, "\r\n", "\n")
}

// withoutFinalNewline drops the newline, LF or CRLF, that an editor or echo leaves at the end of a body.
func withoutFinalNewline(body string) string {
	line, found := strings.CutSuffix(body, "\n")
	if !found {
		return body
	}
	return strings.TrimSuffix(line, "\r")
}
