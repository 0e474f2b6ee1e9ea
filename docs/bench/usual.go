package main

import (
	"context"
	"log"
	"net/http"

	"entgo.io/ent/dialect"
	"github.com/labstack/echo/v4"
	_ "github.com/mattn/go-sqlite3"

	"daybook/ent"
	_ "daybook/ent/runtime" // the hooks of the schema
)

// usualSettings are what careful people give SQLite. A commit is flushed, as Daybook's are, and a writer waits for the others:
// here for up to a minute, since with 256 connections some would not have their turn within the usual five seconds.
const usualSettings = "?_journal_mode=WAL&_synchronous=FULL&_busy_timeout=60000&_txlock=immediate&_fk=1"

// usual serves what one usually writes with Echo and ent.
func usual(database string) error {
	client, err := ent.Open(dialect.SQLite, "file:"+database+usualSettings)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Schema.Create(context.Background()); err != nil {
		return err
	}
	e := echo.New()
	// There must be none, and least of all at the commit, when the client may have been told.
	e.HTTPErrorHandler = func(err error, _ echo.Context) { log.Fatal(err) }
	e.Use(transactions(client))
	e.POST("/record", func(c echo.Context) error {
		message, err := c.Get("tx").(*ent.Tx).Message.Create().SetValue(c.FormValue("msg")).Save(c.Request().Context())
		if err != nil {
			return err
		}
		return c.String(http.StatusCreated, message.Value)
	})
	return listenAndServe(e)
}

// transactions is the middleware that one finds everywhere: a transaction that begins before the handler, and ends after it.
func transactions(client *ent.Client) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			tx, err := client.Tx(c.Request().Context())
			if err != nil {
				return err
			}
			c.Set("tx", tx)
			if err := next(c); err != nil {
				_ = tx.Rollback()
				return err
			}
			return tx.Commit()
		}
	}
}
