package database

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// explained is an error with a text of its own: pgx's texts have several lines, or parts of a malformed URL, which may be those of
// the password.
type explained struct {
	sentence string
	cause    error
}

func (e explained) Error() string { return e.sentence }

func (e explained) Unwrap() error { return e.cause }

// malformed says what is wrong with a URL, without showing it.
func malformed(text string, cause error) error {
	if _, err := url.Parse(text); err != nil {
		return explained{"the URL cannot be read: write postgres://USER:PASSWORD@HOST:5432/DATABASE, with % and two hexadecimal " +
			"digits for a character of the password that is not a letter or a digit (for example %2F for /)", nil}
	}
	_, reason, _ := strings.Cut(cause.Error(), "`: ") // after pgx's copy of the URL, which has passwords in parameters
	return explained{"the parameters of the URL are wrong: " + reason, nil}
}

// explainConnect says why there is no connection, and what to do, in one line.
func explainConnect(err error, config *pgx.ConnConfig) error {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); !ok {
		return err
	}
	answer, _ := errors.AsType[*pgconn.PgError](err)
	switch {
	case state(err, statePassword):
		return explained{fmt.Sprintf("%s: check the user and the password", answer.Message), err}
	case state(err, stateNoDatabase):
		return explained{fmt.Sprintf("%s: create it, with the owner %s and ENCODING 'UTF8'", answer.Message, config.User), err}
	case answer != nil:
		return explained{fmt.Sprintf("the PostgreSQL server refused the connection: %s (SQLSTATE %s)", answer.Message, answer.Code), err}
	}
	_, reasons, _ := strings.Cut(err.Error(), "`:")
	var lines []string // pgx tries each address with TLS and without
	for line := range strings.Lines(reasons) {
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return explained{fmt.Sprintf("cannot connect to PostgreSQL: check the URL, and that the server runs (%s)", strings.Join(lines, "; ")), err}
}
