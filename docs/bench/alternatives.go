package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"log"
	"net/http"
	"strings"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/a-h/templ"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/labstack/echo/v4"
	_ "github.com/mattn/go-sqlite3"

	"daybook/ent"
	"daybook/ent/message"
	_ "daybook/ent/runtime" // the hooks of the schema
	"daybook/views"
)

// usualSettings are what careful people give SQLite. Commits are flushed, as Daybook's are. A writer waits for others for
// up to a minute: with 256 connections, the usual five seconds would not be enough.
const usualSettings = "?_journal_mode=WAL&_synchronous=FULL&_busy_timeout=60000&_fk=1"

// usualWay serves what one usually writes with Echo, ent and templ.
func usualWay(database string, idle int) error {
	client, err := openUsual(database, idle)
	if err != nil {
		return err
	}
	e := echo.New()
	// An error ends the benchmark. An answer cannot show that the commit failed: it has left.
	e.HTTPErrorHandler = func(err error, _ echo.Context) { log.Fatal(err) }
	e.Use(transactions(client))
	e.POST("/record", record)
	e.GET("/", newest)
	return e.Start("127.0.0.1:0")
}

// The connections that the usual way keeps open to PostgreSQL: as in ent's documentation, or one for each client.
const documentedIdle, tunedIdle = 10, 64

// openUsual opens a SQLite file, or a database on PostgreSQL that has its tables.
func openUsual(database string, idle int) (*ent.Client, error) {
	if !strings.HasPrefix(database, "postgres://") {
		client, err := ent.Open(dialect.SQLite, "file:"+database+usualSettings)
		if err != nil {
			return nil, err
		}
		return client, client.Schema.Create(context.Background())
	}
	db, err := sql.Open("pgx", database)
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(idle)
	db.SetMaxOpenConns(100)
	db.SetConnMaxLifetime(time.Hour)
	return ent.NewClient(ent.Driver(entsql.OpenDB(dialect.Postgres, db))), nil
}

// transactions is the usual middleware: a transaction begins before the handler and ends after it.
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

func record(c echo.Context) error {
	tx := c.Get("tx").(*ent.Tx)
	message, err := tx.Message.Create().SetValue(c.FormValue("msg")).Save(c.Request().Context())
	if err != nil {
		return err
	}
	return c.String(http.StatusCreated, message.Value)
}

func newest(c echo.Context) error {
	tx := c.Get("tx").(*ent.Tx)
	messages, err := tx.Message.Query().Order(ent.Desc(message.FieldID)).Limit(50).All(c.Request().Context())
	if err != nil {
		return err
	}
	view := views.Messages{Messages: messages, Newest: true, Query: c.QueryParams(), Zone: time.Local, Key: rand.Text()}
	templ.Handler(view.HTML("./")).ServeHTTP(c.Response(), c.Request())
	return nil
}

// echoAlone serves what Echo can do without a database: it stores no message, and sends the page of a Daybook.
func echoAlone(address string) error {
	var page bytes.Buffer
	if err := list(&server{address: address}, 1).once(&page); err != nil {
		return err
	}
	e := echo.New()
	e.POST("/record", func(c echo.Context) error { return c.String(http.StatusCreated, c.FormValue("msg")) })
	e.GET("/", func(c echo.Context) error { return c.HTMLBlob(http.StatusOK, page.Bytes()) })
	return e.Start("127.0.0.1:0")
}
