package main

import (
	"context"
	"database/sql"
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"daybook/database"
	"daybook/transaction"

	"example.org/notes/ent"
)

// newApp returns the application. Its transactions begin with begin: the client's BeginTx or, in a test,
// transaction.Nested.
func newApp[T transaction.Tx[*ent.Client]](begin func(context.Context, *sql.TxOptions) (T, error)) *echo.Echo {
	e := echo.New()
	e.Use(
		middleware.Recover(),
		transaction.Middleware(begin,
			transaction.Retry(database.IsRepeatable),
			transaction.Unavailable(database.IsBusy),
			transaction.Context(ent.NewContext),
		),
	)
	e.GET("/notes", list)
	e.POST("/notes", create)
	e.POST("/import", importAll)
	e.POST("/notes/:id/pin", pin)
	e.GET("/count", count)
	return e
}

// list answers with all notes, as of one moment.
func list(c echo.Context) error {
	notes, err := transaction.Client[*ent.Client](c).Note.Query().All(c.Request().Context())
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, notes)
}

// create stores a note.
func create(c echo.Context) error {
	note, err := transaction.Client[*ent.Client](c).Note.Create().
		SetText(c.FormValue("text")).
		Save(c.Request().Context())
	if err != nil {
		return refusal(err)
	}
	return c.JSON(http.StatusCreated, note)
}

// importAll stores several notes, without those that are there already. Any other error undoes them all.
func importAll(c echo.Context) error {
	var form struct {
		Text []string `form:"text"`
	}
	if err := c.Bind(&form); err != nil {
		return err
	}
	stored := 0
	for _, text := range form.Text {
		err := transaction.Savepoint(c, func(client *ent.Client) error {
			return client.Note.Create().SetText(text).Exec(c.Request().Context())
		})
		if ent.IsConstraintError(err) {
			continue // this one is undone, the others stay
		}
		if err != nil {
			return refusal(err)
		}
		stored++
	}
	return c.JSON(http.StatusOK, echo.Map{"stored": stored})
}

// pin pins a note, and logs it once that is committed.
func pin(c echo.Context) error {
	var path struct {
		ID int `param:"id"`
	}
	if err := c.Bind(&path); err != nil {
		return err
	}
	note, err := transaction.Client[*ent.Client](c).Note.UpdateOneID(path.ID).
		SetPinned(true).
		Save(c.Request().Context())
	if err != nil {
		return refusal(err)
	}
	log := c.Logger()
	transaction.AfterCommit(c, func(context.Context) error {
		log.Printf("pinned: %s", note.Text)
		return nil
	})
	return c.JSON(http.StatusOK, note)
}

// count answers how many notes there are.
func count(c echo.Context) error {
	n, err := countNotes(c.Request().Context())
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, echo.Map{"count": n})
}

// countNotes does not depend on Echo: it finds the request's client in the context.
func countNotes(ctx context.Context) (int, error) {
	return ent.FromContext(ctx).Note.Query().Count(ctx)
}

// refusal gives the errors that are the client's own their status.
func refusal(err error) error {
	switch {
	case ent.IsNotFound(err):
		return echo.NewHTTPError(http.StatusNotFound, "There is no such note.").SetInternal(err)
	case ent.IsConstraintError(err):
		return echo.NewHTTPError(http.StatusConflict, "There is such a note already.").SetInternal(err)
	case ent.IsValidationError(err):
		return echo.NewHTTPError(http.StatusUnprocessableEntity, "The note is empty.").SetInternal(err)
	}
	return err
}
