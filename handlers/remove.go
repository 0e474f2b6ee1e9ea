package handlers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"entgo.io/ent/dialect"
	"github.com/labstack/echo/v4"

	"daybook/database"
	"daybook/ent"
	"daybook/ent/message"
	"daybook/transaction"
	"daybook/views"
)

// messagesOf returns a query for messages, without the entries of the log that have removed some.
func messagesOf(client *ent.Client) *ent.MessageQuery {
	return client.Message.Query().Where(message.RemovesIsNil())
}

// find returns a message. It refuses a number that no message has: gone if there was one.
func find(ctx context.Context, client *ent.Client, id int) (*ent.Message, error) {
	found, err := messagesOf(client).Where(message.ID(id)).Only(ctx)
	if !ent.IsNotFound(err) {
		return found, err
	}
	removed, err := client.Message.Query().Where(message.Removes(id)).Exist(ctx)
	if err != nil {
		return nil, err
	}
	if removed {
		return nil, gone(id)
	}
	return nil, refuse(http.StatusNotFound, "There is no message %d.", id)
}

// gone returns the error for the number of a message that was removed.
func gone(id int) *echo.HTTPError { return refuse(http.StatusGone, "Message %d was removed.", id) }

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
	found, err := find(c.Request().Context(), transaction.Client[*ent.Client](c), id)
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
	removed, entry, err := remove(c.Request().Context(), transaction.Client[*ent.Client](c), id)
	if err != nil {
		return fmt.Errorf("remove message %d: %w", id, err)
	}
	a.horizon.saw(entry.ID)
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

// remove removes a message, and adds the entry of the log that says so. With it, whoever reads the log in order learns of the
// removal after the message, and no number is given out twice.
func remove(ctx context.Context, client *ent.Client, id int) (removed, entry *ent.Message, err error) {
	if removed, err = find(ctx, client, id); err != nil {
		return nil, nil, err
	}
	n, err := client.Message.Delete().Where(message.ID(id)).Exec(ctx)
	if err != nil {
		return nil, nil, err
	}
	if n == 0 { // on PostgreSQL: another transaction has removed it since
		return nil, nil, gone(id)
	}
	// The value is for programs that do not know of removals.
	entry, err = client.Message.Create().SetRemoves(id).SetValue(fmt.Sprint(gone(id).Message)).Save(ctx)
	return removed, entry, err
}

// Remove removes messages, all of them or none, and writes them to out as lines. Servers with the same database may be running.
func Remove(ctx context.Context, driver dialect.Driver, out io.Writer, ids ...int) error {
	client := ent.NewClient(ent.Driver(driver))
	tx, err := client.Tx(ctx)
	if err != nil {
		return err
	}
	var lines []byte
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		removed, _, err := remove(ctx, tx.Client(), id)
		if err != nil {
			if refused, ok := errors.AsType[*echo.HTTPError](err); ok {
				err = fmt.Errorf("nothing was removed: %s", refused.Message)
			}
			return errors.Join(err, tx.Rollback())
		}
		lines = views.Message{Message: removed}.AppendText(lines)
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	_ = database.Notify(ctx, driver, channel) // servers also look each second
	_, err = out.Write(lines)
	return err
}
