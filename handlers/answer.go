package handlers

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"

	"daybook/static"
	"daybook/views"
)

// answer shows the view in the one of the formats that suits the client.
func answer(c echo.Context, view views.View, formats []format) error {
	format, err := negotiate(c.Request(), formats...)
	if err != nil {
		return err
	}
	return send(c, http.StatusOK, format, view)
}

// send renders the view, whole, and only then begins to answer.
func send(c echo.Context, status int, format format, view views.View) error {
	body := templ.GetBuffer() // used again: to grow a new one to a page's size costs more than a short page
	defer templ.ReleaseBuffer(body)
	if err := render(c, body, format, view); err != nil {
		return fmt.Errorf("render: %w", err)
	}
	header := c.Response().Header()
	announce(c, format, status)
	if status == http.StatusOK {
		header.Set("ETag", tag(body.Bytes()))
		if unchanged(c.Request(), header) {
			return c.NoContent(http.StatusNotModified)
		}
	}
	c.Response().WriteHeader(status)
	_, err := c.Response().Write(body.Bytes())
	return err
}

// render writes the view in the format.
func render(c echo.Context, body *bytes.Buffer, format format, view views.View) error {
	list, isList := view.(views.Messages)
	switch {
	case format == html:
		pageHeaders(c.Response().Header())
		return view.HTML(root(c)).Render(c.Request().Context(), body)
	case format == atom && isList:
		body.WriteString(xml.Header)
		return xml.NewEncoder(body).Encode(list.Atom(root(c), c.Request().Host))
	case format == ndjson && isList:
		for _, m := range slices.Backward(list.Messages) { // the newest last, as in text
			body.Write(append(views.Message{Message: m}.AppendJSON(body.AvailableBuffer()), '\n'))
		}
	case format == asJSON, format == ndjson:
		body.Write(append(view.AppendJSON(body.AvailableBuffer()), '\n'))
	default:
		body.Write(view.AppendText(body.AvailableBuffer()))
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
