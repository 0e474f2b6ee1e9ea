package handlers

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
)

// writeTimeout is how long an answer may take from the request's header, or from the last portion of a long body.
const writeTimeout = time.Minute

// connKey is the key of the connection in a request's context.
type connKey struct{}

// limit sets the server's limits for clients.
func limit(server *http.Server, log *slog.Logger) {
	server.ReadHeaderTimeout = 10 * time.Second
	server.ReadTimeout = time.Minute
	server.WriteTimeout = writeTimeout
	server.IdleTimeout = 2 * time.Minute
	server.MaxHeaderBytes = 64 << 10
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, conn)
	}
	server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
}

// logRequest gives each request an ID, answers its error, and measures and logs it when it has ended: without its query, which may
// be a message. A client's own ID is ignored: it could be anything. Requests that do not show the token are logged together.
func (a app) logRequest(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		begun, request, answer := time.Now(), c.Request(), c.Response()
		id := rand.Text()[:10]
		answer.Header().Set(echo.HeaderXRequestID, id)
		defer func() { // also if the answer is aborted
			a.metrics.observeRequest(c, time.Since(begun))
			if answer.Status == http.StatusUnauthorized {
				a.denials.log(a.log, c.RealIP(), id)
				return
			}
			a.log.LogAttrs(request.Context(), slog.LevelInfo, "request",
				slog.String("method", request.Method), slog.String("path", request.URL.Path), slog.Int("status", answer.Status),
				slog.Int64("bytes", answer.Size), slog.Duration("took", time.Since(begun)),
				slog.String("client", c.RealIP()), slog.String("id", id))
		}()
		if err := next(c); err != nil {
			c.Error(err) // here rather than in Echo, so that the log has the status
		}
		return nil
	}
}

// recoverPanic turns a panic into an error with the stack.
func recoverPanic() echo.MiddlewareFunc {
	return middleware.RecoverWithConfig(middleware.RecoverConfig{
		StackSize:           16 << 10,
		DisableStackAll:     true,
		DisableErrorHandler: true, // logRequest calls it
		LogErrorFunc: func(_ echo.Context, err error, stack []byte) error {
			return fmt.Errorf("panic: %w\n%s", err, stack)
		},
	})
}

// headers sets the headers of every answer. Another site can neither frame it nor load it, and a page loads nothing from other sites,
// runs no script but ours, and uses nothing of the visitor's device. With the policy "no-referrer" its forms would lose their Origin.
func (a app) headers(next echo.HandlerFunc) echo.HandlerFunc {
	cache := "no-cache"
	if a.access.Token != "" {
		cache = "private, no-cache" // what is shown depends on who asks
	}
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "+
			"connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", cache)
		return next(c)
	}
}

// refuseCrossOrigin refuses the requests of another site's page, except for links: such a page must not record for its visitors,
// nor learn from a frame, or from the duration of a search, what the messages contain.
func refuseCrossOrigin() echo.MiddlewareFunc {
	protection := http.NewCrossOriginProtection()
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if header := c.Request().Header; fromElsewhere(header) && !followsLink(header) {
				return refuse(http.StatusForbidden, "Pages of other sites can only link to this one.")
			}
			if err := protection.Check(c.Request()); err != nil {
				return refuse(http.StatusForbidden, "Pages of other sites cannot record here.").SetInternal(err)
			}
			return next(c)
		}
	}
}

// fromElsewhere reports whether a page of another origin causes the request. Another port of localhost is of the same site.
func fromElsewhere(header http.Header) bool {
	site := header.Get("Sec-Fetch-Site")
	return site == "cross-site" || site == "same-site"
}

// followsLink reports whether the request is for what a whole tab is to show, and not ahead of time.
func followsLink(header http.Header) bool {
	destination := header.Get("Sec-Fetch-Dest")
	return header.Get("Sec-Fetch-Mode") == "navigate" && (destination == "document" || destination == "") && header.Get("Sec-Purpose") == ""
}

// How long clients can delay a shutdown.
const (
	clientGrace = 5 * time.Second // by sending a request, or reading an answer, slowly
	answerGrace = 2 * time.Second // by reading an answer that becomes ready during the shutdown
)

// limitClient limits how long the request's client can delay a shutdown: net/http waits for every running request, also for one
// whose client neither sends nor reads. At the deadline it also cancels requests that have arrived; recordings have ended by then.
func (a app) limitClient(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		// The errors of setting a deadline are ignored: they mean that the client has left.
		control, set := http.NewResponseController(c.Response()), make(chan struct{})
		stop := context.AfterFunc(a.shutdown, func() {
			defer close(set)
			deadline := time.Now().Add(clientGrace)
			_ = control.SetReadDeadline(deadline)
			_ = control.SetWriteDeadline(deadline)
		})
		defer func() {
			if !stop() {
				<-set // after the request, net/http sets a deadline of its own, which must not be lost
			}
		}()
		c.Response().Before(func() {
			if a.shutdown.Err() != nil {
				c.Response().Header().Set(echo.HeaderConnection, "close") // or the next request would meet a connection that ends
				_ = control.SetWriteDeadline(time.Now().Add(answerGrace))
			}
		})
		return next(c)
	}
}

// giveTime sets a deadline of a connection, unless limitClient has set the last one.
func giveTime(shutdown context.Context, set func(time.Time) error, d time.Duration) error {
	if shutdown.Err() != nil {
		return nil
	}
	err := set(time.Now().Add(d))
	if shutdown.Err() != nil { // it has begun meanwhile, and limitClient's deadline may be lost
		err = set(time.Now().Add(min(d, clientGrace)))
	}
	return err
}
