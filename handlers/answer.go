package handlers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"

	"daybook/static"
	"daybook/views"
)

// answer shows the view in the format that suits the client.
func answer(c echo.Context, status int, view views.View) error {
	format, err := negotiate(c.Request(), formats...)
	if err != nil {
		return err
	}
	return send(c, status, format, view)
}

// send renders the view, whole, and only then begins to answer.
func send(c echo.Context, status int, format format, view views.View) error {
	body := templ.GetBuffer() // used again: to grow a new one to a page's size costs more than a short page
	defer templ.ReleaseBuffer(body)
	var err error
	switch format {
	case html:
		pageHeaders(c.Response().Header())
		err = view.HTML(root(c)).Render(c.Request().Context(), body)
	case asJSON, ndjson:
		err = encode(body, format, view)
	default:
		body.Write(view.AppendText(body.AvailableBuffer()))
	}
	if err != nil {
		return fmt.Errorf("render: %w", err)
	}
	announce(c, format, status)
	c.Response().WriteHeader(status)
	_, err = c.Response().Write(body.Bytes())
	return err
}

// encode writes the view as JSON: on one line, but for the messages of a list as NDJSON, which have a line each, the newest last.
func encode(body *bytes.Buffer, format format, view views.View) error {
	encoder := json.NewEncoder(body)
	encoder.SetEscapeHTML(false)
	list, ok := view.(views.Messages)
	if format != ndjson || !ok {
		return encoder.Encode(view.JSON())
	}
	for _, m := range slices.Backward(list.Messages) {
		if err := encoder.Encode(views.Message{Message: m}.JSON()); err != nil {
			return err
		}
	}
	return nil
}

// announce sets the headers of an answer in the format.
func announce(c echo.Context, format format, status int) {
	contentType := format.mediaType
	if status >= http.StatusBadRequest && (format == asJSON || format == ndjson) {
		contentType = "application/problem+json"
	}
	c.Response().Header().Set(echo.HeaderContentType, contentType+"; charset=utf-8")
	c.Response().Header().Add(echo.HeaderVary, "Accept")
}

// root returns the relative path from the request's address to the application's root. Every link and redirect begins
// with it, and so is right behind a proxy that serves the application under any prefix.
func root(c echo.Context) string {
	depth := strings.Count(c.Request().URL.EscapedPath(), "/") - 1
	if depth <= 0 {
		return "./"
	}
	return strings.Repeat("../", depth)
}

// command returns the command line that records a message here.
func command(c echo.Context) string {
	scheme := ""
	if c.Scheme() == "https" {
		scheme = "https://"
	}
	return fmt.Sprintf("curl -d 'hello world' %s%s/record", scheme, c.Request().Host)
}

// alive tells that the process runs, and asks nothing of the database.
func alive(c echo.Context) error {
	return c.String(http.StatusOK, "ok\n")
}

// robots keeps crawlers from the address that records.
func robots(c echo.Context) error {
	return c.String(http.StatusOK, "User-agent: *\nDisallow: /record\n")
}

// staticFile serves an embedded file. Its name changes with its content, so it can be kept for ever.
func staticFile(c echo.Context) error {
	file, ok := static.Lookup(c.Param("name"))
	if !ok {
		return echo.ErrNotFound
	}
	c.Response().Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	return c.Blob(http.StatusOK, file.ContentType, file.Content)
}
