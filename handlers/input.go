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

// readMessage reads the message in whichever way it was sent: as the field msg of a form or of a JSON object, as the
// body itself, or, when there is no body, in the address.
func readMessage(r *http.Request) (string, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", unreadable(err)
	}
	if len(body) == 0 {
		value, _, err := field(r.URL.RawQuery)
		return value, err
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
		if value, found, err := field(string(body)); found || err != nil {
			return value, err
		}
	}
	return withoutFinalNewline(string(body)), nil
}

// unreadable says why a body could not be read to its end.
func unreadable(err error) error {
	var refused *echo.HTTPError // by the limit of the body
	if errors.As(err, &refused) {
		return refused
	}
	return refuse(http.StatusBadRequest, "The body ended before it was complete.").SetInternal(err)
}

// field returns the field msg of an urlencoded form or query, and whether there is one. It is not url.ParseQuery,
// because that drops a field with a semicolon in it, which people write.
func field(encoded string) (value string, found bool, err error) {
	for pair := range strings.SplitSeq(encoded, "&") {
		name, encodedValue, _ := strings.Cut(pair, "=")
		if name != "msg" || len(pair) == len(name) {
			continue
		}
		if found {
			return "", false, refuse(http.StatusBadRequest, "There is more than one msg.")
		}
		value, err = url.QueryUnescape(encodedValue)
		if err != nil {
			return "", false, refuse(http.StatusBadRequest,
				"The field msg is not percent-encoded: with curl, use --data-urlencode.").SetInternal(err)
		}
		found = true
	}
	return lineBreaks(value), found, nil
}

func fromMultipart(body []byte, boundary string) (string, error) {
	var values []string
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := parts.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", brokenForm(err)
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return "", brokenForm(err)
		}
		if part.FormName() == "msg" {
			values = append(values, string(value))
		}
	}
	if len(values) != 1 {
		return "", refuse(http.StatusUnprocessableEntity, "The form has %d fields msg instead of one.", len(values))
	}
	return lineBreaks(values[0]), nil
}

func brokenForm(err error) error {
	return refuse(http.StatusBadRequest, "The form is broken or incomplete.").SetInternal(err)
}

func fromJSON(body []byte) (string, error) {
	if !utf8.Valid(body) {
		return "", schema.NotUTF8 // json.Unmarshal would put U+FFFD in place of what is not
	}
	var object struct{ Msg *string }
	if err := json.Unmarshal(body, &object); err != nil {
		return "", refuse(http.StatusBadRequest, `The body is not JSON like {"msg":"hello world"}.`).SetInternal(err)
	}
	if object.Msg == nil {
		return "", refuse(http.StatusUnprocessableEntity, `The JSON has no msg, as in {"msg":"hello world"}.`)
	}
	if replacements(*object.Msg) > replacements(string(body))+strings.Count(strings.ToLower(string(body)), `\ufffd`) {
		return "", schema.NotUTF8 // half a surrogate pair, such as \ud83d alone, which it replaces likewise
	}
	return *object.Msg, nil
}

// replacements counts U+FFFD, which stands for what could not be read.
func replacements(text string) int {
	return strings.Count(text, "\ufffd")
}

// lineBreaks undoes how forms spell a line break on the wire: the text in a text area has \n, and is sent with \r\n.
func lineBreaks(value string) string {
	return strings.ReplaceAll(value, "\r\n", "\n")
}

// withoutFinalNewline drops the newline that an editor or echo leaves at the end of a body.
func withoutFinalNewline(body string) string {
	return strings.TrimSuffix(strings.TrimSuffix(body, "\n"), "\r")
}
