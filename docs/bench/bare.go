package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"

	"github.com/labstack/echo/v4"
)

// bare serves what Echo can do alone. It takes a message and stores nothing; and given an address, it sends from memory the page
// that was there.
func bare(address string) error {
	e := echo.New()
	e.POST("/record", func(c echo.Context) error { return c.String(http.StatusCreated, c.FormValue("msg")) })
	if address != "" {
		page, err := fetch(address)
		if err != nil {
			return err
		}
		e.GET("/page", func(c echo.Context) error {
			c.Response().Header().Set(echo.HeaderContentLength, strconv.Itoa(len(page)))
			return c.Blob(http.StatusOK, echo.MIMETextHTMLCharsetUTF8, page)
		})
	}
	return listenAndServe(e)
}

func fetch(address string) ([]byte, error) {
	response, err := http.Get(address)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s was answered %s", address, response.Status)
	}
	return io.ReadAll(response.Body)
}

// listenAndServe serves on a free port, and says on which.
func listenAndServe(e *echo.Echo) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "Listening at http://%s\n", listener.Addr())
	return e.Server.Serve(listener)
}
