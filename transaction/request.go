package transaction

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"
)

// ender is a transaction without its client's type.
type ender interface {
	Commit() error
	Rollback() error
}

// request is one request's transaction.
type request struct {
	ctx      context.Context
	open     func(ctx context.Context, readOnly bool) (ender, any, error)
	readOnly bool
	held     *held

	tx       ender // nil until it is begun
	client   any
	beginErr error
	ended    bool
}

// run calls next inside a transaction and ends it before anything of the response leaves.
func run(c echo.Context, next echo.HandlerFunc, open func(context.Context, bool) (ender, any, error)) error {
	original := c.Response()
	readOnly := safe(c.Request().Method)
	held := hold(original, readOnly)
	r := &request{ctx: c.Request().Context(), open: open, readOnly: readOnly, held: held}

	c.Set(key, r)
	c.SetResponse(echo.NewResponse(held, c.Echo()))
	defer func() {
		c.SetResponse(original)
		c.Set(key, nil)
		// Only a panic comes here without an end. It is not caught, so that whoever does sees where it came from.
		if err := r.rollback(); err != nil {
			c.Logger().Error(err)
		}
	}()
	return r.end(c, r.call(next, c))
}

// begun returns the client, and begins the transaction for it if need be.
func (r *request) begun() any {
	if r.tx != nil {
		return r.client
	}
	r.tx, r.client, r.beginErr = r.open(r.ctx, r.readOnly)
	if r.beginErr != nil {
		panic(r.beginErr) // to call
	}
	return r.client
}

// call calls the handler. It returns the error with which the transaction could not begin, if it could not.
func (r *request) call(next echo.HandlerFunc, c echo.Context) (err error) {
	defer func() {
		if r.beginErr != nil {
			_ = recover()
			err = fmt.Errorf("begin transaction: %w", r.beginErr)
		}
	}()
	return next(c)
}

// end ends the transaction, and only then lets the response go. Its error is for Echo's error handler.
func (r *request) end(c echo.Context, err error) error {
	reason := r.refusal(c, err)
	if reason == nil {
		if err := r.commit(); err != nil {
			return err
		}
		return r.held.release()
	}
	if r.tx == nil {
		r.held.sendHeaders() // nothing was begun: Echo's Allow, say, stays, as it would without the middleware
	}
	if err := r.rollback(); err != nil {
		return errors.Join(reason, err)
	}
	if r.held.refused() && !errors.Is(reason, ErrResponseTooLarge) {
		// The handler has answered with a refusal of its own.
		return errors.Join(err, r.held.release())
	}
	return reason
}

// refusal decides the outcome: it says why the transaction must not be kept, or nil if it must.
func (r *request) refusal(c echo.Context, err error) error {
	switch {
	case err != nil:
		return err
	case r.held.overflowed:
		return ErrResponseTooLarge
	case r.held.refused():
		return fmt.Errorf("transaction: the handler answered with status %d", r.held.status)
	case r.ctx.Err() != nil:
		return fmt.Errorf("transaction: the request ended early: %w", context.Cause(r.ctx))
	}
	// A middleware further in may have set a deadline. Having returned, it has cancelled its context in any case,
	// so only a deadline that has passed counts.
	if inner := c.Request().Context(); errors.Is(inner.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("transaction: the request took too long: %w", inner.Err())
	}
	return nil
}

func (r *request) commit() error {
	if r.tx == nil {
		return nil
	}
	err := r.tx.Commit()
	r.ended = true // not if Commit, or a hook of it, panics
	if err != nil {
		return fmt.Errorf("commit transaction: %w", err)
	}
	return nil
}

// rollback undoes the transaction if it has not ended.
func (r *request) rollback() error {
	if r.tx == nil || r.ended {
		return nil
	}
	r.ended = true
	if err := r.tx.Rollback(); err != nil {
		return fmt.Errorf("roll back transaction: %w", err)
	}
	return nil
}

// refused reports whether the held response says that the request failed.
func (h *held) refused() bool {
	return h.status >= http.StatusBadRequest
}
