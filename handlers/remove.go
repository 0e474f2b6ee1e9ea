package handlers

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"daybook/book"
	"daybook/ent"
	"daybook/transaction"
	"daybook/views"
)

// asked returns the format of the answer and the number of the message in the address.
func asked(c echo.Context) (format format, id int, err error) {
	if format, err = negotiate(c, formats...); err != nil {
		return format, 0, err
	}
	if id, err = strconv.Atoi(c.Param("id")); err != nil {
		err = refuse(http.StatusNotFound, "There is no message %s.", c.Param("id"))
	}
	return format, id, err
}

// confirmRemoval asks whether to remove a message. As text and JSON, it shows the message.
func (a app) confirmRemoval(c echo.Context) error {
	format, id, err := asked(c)
	if err != nil {
		return err
	}
	found, err := book.Find(c.Request().Context(), transaction.Client[*ent.Client](c), id)
	if err != nil {
		return fmt.Errorf("confirm the removal of message %d: %w", id, err)
	}
	return send(c, http.StatusOK, format, views.Removal{Message: views.Message{Message: found, Zone: a.zone}})
}

// remove removes the message that the address names.
func (a app) remove(c echo.Context) error {
	format, id, err := asked(c)
	if err != nil {
		return err
	}
	removed, entry, err := book.Remove(c.Request().Context(), transaction.Client[*ent.Client](c), id)
	if err != nil {
		return fmt.Errorf("remove message %d: %w", id, err)
	}
	a.horizon.Saw(entry.ID)
	transaction.AfterCommit(c, func(context.Context) error {
		a.hub.Forget()
		a.hub.Notify()
		return nil
	})
	if format == html {
		c.Response().Header().Add(echo.HeaderVary, "Accept")
		return c.Redirect(http.StatusSeeOther, root(c))
	}
	return send(c, http.StatusOK, format, views.Done{Message: views.Message{Message: removed, Zone: a.zone}, What: "Removed"})
}
