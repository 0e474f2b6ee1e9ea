package handlers

import (
	"cmp"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

// checkHost refuses requests to a name that is not the server's: a stranger's name may lead here (DNS rebinding), and the stranger's
// page would then be of the same origin as ours. If the proxy is believed, Host becomes that of the address that the visitor uses. It
// is checked, too, and not instead: some proxies pass on what a visitor sends as X-Forwarded-Host.
func (a app) checkHost(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		request := c.Request()
		for _, host := range []string{request.Host, cmp.Or(a.forwarded(request, "X-Forwarded-Host"), request.Host)} {
			if request.Host = host; !a.isOwn(hostname(host)) {
				return refuse(http.StatusMisdirectedRequest, "%q is not a name of this server. Its operator can add it with --host.", hostname(host))
			}
		}
		return next(c)
	}
}

// isOwn reports whether the server may be called by this name.
func (a app) isOwn(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil || name == "localhost" || strings.HasSuffix(name, ".localhost") ||
		slices.ContainsFunc(a.access.Hosts, func(host string) bool { return host == "*" || hostname(host) == name })
}

// hostname returns the name or the address in a Host header.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if address, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(address, "]")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// Proxy is reverse proxies whose X-Forwarded headers are believed: those with an address in the prefix or, if it is the zero value,
// those that use a Unix socket.
type Proxy struct{ netip.Prefix }

// UnmarshalText reads an address, a prefix such as 10.0.0.0/8, or the word unix.
func (p *Proxy) UnmarshalText(text []byte) (err error) {
	if string(text) == "unix" {
		return nil
	}
	if addr, err := netip.ParseAddr(string(text)); err == nil {
		p.Prefix = netip.PrefixFrom(addr, addr.BitLen())
		return nil
	}
	p.Prefix, err = netip.ParsePrefix(string(text))
	return err
}

// isProxy reports whether an address, which is invalid for a Unix socket, is that of a proxy that is believed.
func (a app) isProxy(addr netip.Addr) bool {
	return slices.ContainsFunc(a.access.Proxies, func(p Proxy) bool {
		return p.Contains(addr) || !p.IsValid() && !addr.IsValid()
	})
}

// peer returns the address of whoever is connected, which is invalid on a Unix socket.
func peer(r *http.Request) netip.Addr {
	addr, _ := netip.ParseAddrPort(r.RemoteAddr)
	return addr.Addr().Unmap()
}

// visitor returns the address of the visitor, or "". Each proxy adds to X-Forwarded-For whom it serves, so the visitor is the last one
// there who is no proxy of ours: what stands before him is only what he says.
func (a app) visitor(r *http.Request) string {
	client := peer(r)
	hops := strings.Split(strings.Join(r.Header.Values(echo.HeaderXForwardedFor), ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil || !a.isProxy(client) {
			break
		}
		client = addr.Unmap()
	}
	if !client.IsValid() {
		return ""
	}
	return client.String()
}

// scheme returns the scheme of the address that the visitor uses.
func (a app) scheme(r *http.Request) string {
	if a.forwarded(r, echo.HeaderXForwardedProto) == "https" {
		return "https"
	}
	return "http"
}

// forwarded returns what the last proxy says in a header, if it is believed.
func (a app) forwarded(r *http.Request, header string) string {
	if !a.isProxy(peer(r)) {
		return ""
	}
	values := strings.Split(strings.Join(r.Header.Values(header), ","), ",")
	return strings.TrimSpace(values[len(values)-1])
}
