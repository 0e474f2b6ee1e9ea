package handlers

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"golang.org/x/sync/semaphore"
)

// A client must send each portion of a body, and the rest of it, in time: at least 1 KB a second.
const (
	bodyPortion = 10_000 // bytes
	bodyTimeout = 10 * time.Second
)

// What is read of bodies at one time takes no more than bodyMemory bytes, not counting the first freeBody of each: net/http has a
// buffer of that size for each connection anyway.
const (
	bodyMemory = 64 << 20
	freeBody   = 4 << 10
)

// turnTimeout is how long a request waits for its turn.
const turnTimeout = 5 * time.Second

// takeTurn waits until n of the turns are free. Whoever gets them must release them.
func takeTurn(ctx context.Context, turns *semaphore.Weighted, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	if err := turns.Acquire(ctx, n); err != nil {
		return refuse(http.StatusServiceUnavailable, "The server is busy. Please try again.").SetInternal(err)
	}
	return nil
}

// newBulk returns the turns of reading many messages: those of ?all, or as many as a search reads that finds little. Half of the
// processors are left to others.
func newBulk() *semaphore.Weighted {
	return semaphore.NewWeighted(int64(max(1, runtime.GOMAXPROCS(0)/2)))
}

// limitBody limits the body of a request: its size, how slowly it comes, and the memory that all bodies take. JSON may spell a byte
// of a message with six (\u0061); the rest is what surrounds it.
func (a app) limitBody() echo.MiddlewareFunc {
	largest := 6*a.maxMessage + 16<<10
	limitSize, memory := middleware.BodyLimit(strconv.Itoa(largest)+"B"), semaphore.NewWeighted(bodyMemory)
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return limitSize(func(c echo.Context) error {
			request := c.Request()
			size := request.ContentLength
			switch {
			case size == 0: // net/http waits for the end of the connection already: a deadline would be taken for it
				return next(c)
			case size < 0:
				size = int64(largest)
			}
			b := &body{ReadCloser: request.Body, c: c, shutdown: a.shutdown, memory: memory, size: min(size, bodyMemory), portion: freeBody}
			b.control = http.NewResponseController(c.Response())
			_ = giveTime(a.shutdown, b.control.SetReadDeadline, bodyTimeout) // an error means that the client has left
			request.Body = b
			defer b.release()
			return next(c)
		})
	}
}

// body is the body of a request that must come fast enough. What is longer than freeBody takes its turn before more is read, for the
// whole of its length: so it never waits while it holds a part. The time of the wait is not the client's.
type body struct {
	io.ReadCloser
	c        echo.Context
	control  *http.ResponseController
	shutdown context.Context
	memory   *semaphore.Weighted
	size     int64 // bytes of memory that the body may take
	taken    bool
	portion  int   // bytes that may come until the deadline
	err      error // after which nothing more comes: net/http has cleared the deadline then, and it must not be set again
}

func (b *body) Read(p []byte) (n int, err error) {
	if b.portion == 0 && b.err == nil {
		b.err = b.next()
	}
	if b.err != nil {
		return 0, b.err
	}
	n, b.err = b.ReadCloser.Read(p[:min(len(p), b.portion)])
	b.portion -= n
	if errors.Is(b.err, os.ErrDeadlineExceeded) && b.shutdown.Err() == nil {
		b.err = b.refuse(refuse(http.StatusRequestTimeout, "The body came too slowly: at least 1 KB must come each second."))
	}
	return n, b.err
}

// next begins the next portion.
func (b *body) next() error {
	if !b.taken {
		if err := takeTurn(b.c.Request().Context(), b.memory, b.size); err != nil {
			return b.refuse(err)
		}
		b.taken = true
	}
	b.portion = bodyPortion
	_ = giveTime(b.shutdown, b.control.SetReadDeadline, bodyTimeout)
	return giveTime(b.shutdown, b.control.SetWriteDeadline, writeTimeout)
}

// refuse closes the connection after the answer, instead of reading the rest of the body first.
func (b *body) refuse(err error) error {
	b.c.Response().Header().Set(echo.HeaderConnection, "close")
	return err
}

func (b *body) release() {
	if b.taken {
		b.memory.Release(b.size)
	}
}
