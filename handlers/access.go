package handlers

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

// Access says who may do what, and how often.
type Access struct {
	Token   string   // must be shown to record and to remove; without one, everybody may record and nobody may remove
	Private bool     // the token must be shown to read, too
	Hosts   []string // names by which visitors call the server, besides localhost and IP addresses; "*" is any name
	Proxies []Proxy  // believed about who the visitor is
	Rate    Rate     // how often a visitor may record
}

// mayRead lets the requests pass that may read.
func (a app) mayRead(next echo.HandlerFunc) echo.HandlerFunc {
	if !a.access.Private {
		return next
	}
	return a.mayRecord(next)
}

// mayRecord lets the requests pass that may record.
func (a app) mayRecord(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if !a.permits(c.Request()) {
			return a.challenge(c)
		}
		return next(c)
	}
}

// mayRemove lets the requests pass that may remove messages.
func (a app) mayRemove(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if a.access.Token == "" {
			return refuse(http.StatusForbidden,
				"Without a token, nobody can remove messages here. On the machine that has the database: daybook remove ID")
		}
		return a.mayRecord(next)(c)
	}
}

// permits reports whether the request may record.
func (a app) permits(r *http.Request) bool { return a.access.Token == "" || a.showsToken(r) }

// showsToken reports whether the request shows the token: as a bearer, or as the password of any user, for browsers. Its hash is
// compared, so that the time that this takes tells nothing about the token.
func (a app) showsToken(r *http.Request) bool {
	_, shown, basic := r.BasicAuth()
	if scheme, bearer, _ := strings.Cut(r.Header.Get(echo.HeaderAuthorization), " "); !basic && strings.EqualFold(scheme, "Bearer") {
		shown = strings.TrimSpace(bearer)
	}
	token, hash := sha256.Sum256([]byte(a.access.Token)), sha256.Sum256([]byte(shown))
	return a.access.Token != "" && subtle.ConstantTimeCompare(hash[:], token[:]) == 1
}

// challenge refuses a request that does not show the token. A browser asks for a name, which may be anything, and a password.
func (a app) challenge(c echo.Context) error {
	c.Response().Header().Add(echo.HeaderWWWAuthenticate, `Basic realm="Daybook", charset="UTF-8"`)
	c.Response().Header().Add(echo.HeaderWWWAuthenticate, `Bearer realm="Daybook"`)
	sentence := "This needs the token."
	if c.Request().Header.Get(echo.HeaderAuthorization) != "" {
		sentence = "This is not the token."
	}
	return refuse(http.StatusUnauthorized, "%s Show it as the password of any user, or as Authorization: Bearer TOKEN.", sentence)
}

// denials logs refusals to show the token, at most once a second, so that who guesses cannot fill the disk.
type denials struct {
	mu       sync.Mutex
	unlogged int
	logged   time.Time
}

func (d *denials) log(log *slog.Logger, client, id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unlogged++
	if time.Since(d.logged) < time.Second {
		return
	}
	log.Warn("requests without the token", slog.Int("requests", d.unlogged), slog.String("last", client), slog.String("id", id))
	d.unlogged, d.logged = 0, time.Now()
}
