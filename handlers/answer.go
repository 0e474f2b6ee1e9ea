package handlers

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"

	"daybook/static"
	"daybook/views"
)

// answer shows the view in the format that suits the client.
func answer(c echo.Context, status int, view views.View) error {
	format, err := negotiate(c.Request())
	if err != nil {
		return err
	}
	return send(c, status, format, view)
}

// send renders the view, whole, and only then begins to answer.
func send(c echo.Context, status int, format format, view views.View) error {
	body := templ.GetBuffer() // used again: to grow a new one to a page's size costs more than a short page
	defer templ.ReleaseBuffer(body)
	contentType := format.mediaType
	var err error
	switch format {
	case html:
		pageHeaders(c.Response().Header())
		err = view.HTML(root(c)).Render(c.Request().Context(), body)
	case asJSON:
		encoder := json.NewEncoder(body)
		encoder.SetEscapeHTML(false)
		err = encoder.Encode(view.JSON())
		if status >= http.StatusBadRequest {
			contentType = "application/problem+json"
		}
	default:
		body.Write(view.AppendText(body.AvailableBuffer()))
	}
	if err != nil {
		return fmt.Errorf("render: %w", err)
	}
	c.Response().Header().Add(echo.HeaderVary, "Accept")
	return c.Blob(status, contentType+"; charset=utf-8", body.Bytes())
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
