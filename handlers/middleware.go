package handlers

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
)

// writeTimeout is how long a client may take for an answer, or for the next portion of one that has no end in sight.
const writeTimeout = time.Minute

// limit bounds what a client can make the server wait for and keep, before any handler sees the request.
func limit(server *http.Server, log *slog.Logger) {
	server.ReadHeaderTimeout = 10 * time.Second
	server.ReadTimeout = time.Minute
	server.WriteTimeout = writeTimeout
	server.IdleTimeout = 2 * time.Minute
	server.MaxHeaderBytes = 64 << 10
	server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
}

// logRequest logs each request once its answer, an error's too, has been decided.
func (b book) logRequest() echo.MiddlewareFunc {
	return middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{
		HandleError:     true,
		LogMethod:       true,
		LogURI:          true,
		LogStatus:       true,
		LogLatency:      true,
		LogResponseSize: true,
		LogValuesFunc: func(c echo.Context, v middleware.RequestLoggerValues) error {
			b.log.LogAttrs(c.Request().Context(), slog.LevelInfo, "request",
				slog.String("method", v.Method),
				slog.String("uri", v.URI),
				slog.Int("status", v.Status),
				slog.Int64("bytes", v.ResponseSize),
				slog.Duration("took", v.Latency),
				slog.String("id", c.Response().Header().Get(echo.HeaderXRequestID)),
			)
			return nil
		},
	})
}

// recoverPanic turns a panic into an error, which has the stack for the log.
func recoverPanic() echo.MiddlewareFunc {
	return middleware.RecoverWithConfig(middleware.RecoverConfig{
		StackSize:           16 << 10,
		DisableStackAll:     true,
		DisableErrorHandler: true, // it is called further out, where the answer is logged
		LogErrorFunc: func(_ echo.Context, err error, stack []byte) error {
			return fmt.Errorf("panic: %w\n%s", err, stack)
		},
	})
}

// headers sets what every answer carries: another site's page may neither frame it nor load it.
func headers(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		return next(c)
	}
}

// pageHeaders sets what every page carries besides. It may load nothing from elsewhere and run no script but ours; its
// forms keep their Origin, which "no-referrer" would take from them.
func pageHeaders(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "+
		"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "same-origin")
}

// requestID gives each request an ID of its own for the log. What the client calls it is not for the log.
func requestID(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Header().Set(echo.HeaderXRequestID, rand.Text()[:10])
		return next(c)
	}
}

// refuseCrossOrigin refuses what a page of another site sends, except to follow a link: it must not record in the name of its
// visitors, nor learn from the time that a search takes what is in the book.
func refuseCrossOrigin() echo.MiddlewareFunc {
	protection := http.NewCrossOriginProtection()
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			header := c.Request().Header
			if header.Get("Sec-Fetch-Site") == "cross-site" && header.Get("Sec-Fetch-Mode") != "navigate" {
				return refuse(http.StatusForbidden, "A page of another site may only link to this.")
			}
			if err := protection.Check(c.Request()); err != nil {
				return refuse(http.StatusForbidden, "A page of another site may not do this.").SetInternal(err)
			}
			return next(c)
		}
	}
}

// limitBody bounds what is read of a request. The longest spelling of a message is JSON's, with six bytes (\u0061)
// for one; the rest is for what stands around it.
func limitBody(maxMessage int) echo.MiddlewareFunc {
	return middleware.BodyLimit(strconv.Itoa(6*maxMessage+16<<10) + "B")
}
