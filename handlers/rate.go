package handlers

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"golang.org/x/time/rate"
)

// Rate is how often a visitor may do something. The zero value sets no limit.
type Rate struct {
	times int
	per   time.Duration
}

// UnmarshalText reads a rate such as 10/s, 100/m or 1000/h.
func (r *Rate) UnmarshalText(text []byte) error {
	number, unit, _ := strings.Cut(string(text), "/")
	times, err := strconv.Atoi(number)
	per := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	if err != nil || times < 1 || per == 0 {
		return fmt.Errorf("%q is not a rate such as 10/s, 100/m or 1000/h", text)
	}
	*r = Rate{times, per}
	return nil
}

// limitRate limits how often a visitor may record. Whoever has waited gets all of the rate at once.
func (a app) limitRate() echo.MiddlewareFunc {
	limit := a.access.Rate
	if limit.times == 0 {
		return func(next echo.HandlerFunc) echo.HandlerFunc { return next }
	}
	perSecond := float64(limit.times) / limit.per.Seconds()
	wait := int(math.Ceil(1 / perSecond)) // after which one more is allowed, however much of it has passed
	return middleware.RateLimiterWithConfig(middleware.RateLimiterConfig{
		Skipper: func(c echo.Context) bool { return !records(c.Request()) },
		Store: middleware.NewRateLimiterMemoryStoreWithConfig(middleware.RateLimiterMemoryStoreConfig{
			Rate:      rate.Limit(perSecond),
			Burst:     limit.times,
			ExpiresIn: limit.per, // when all of the rate is free again
		}),
		IdentifierExtractor: func(c echo.Context) (string, error) { return network(c.RealIP()), nil },
		DenyHandler: func(c echo.Context, _ string, _ error) error {
			_, _ = readSubmission(c.Request()) // so that a form comes back with what was typed
			c.Response().Header().Set(echo.HeaderRetryAfter, strconv.Itoa(wait))
			return refuse(http.StatusTooManyRequests, "You record more often than is allowed here. Please try again in %d s.", wait)
		},
	})
}

// network returns what one visitor may have of the addresses: an IPv4 address, or the /64 of an IPv6 address.
func network(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil || addr.Is4() {
		return address
	}
	prefix, _ := addr.Prefix(64)
	return prefix.String()
}
