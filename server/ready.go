package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// readyTimeout is how long a server may take to say that it is ready.
const readyTimeout = 5 * time.Second

// Ready asks the server at an address, as [Listen] takes it, whether it is ready (GET /readyz). It returns an error with the reason
// that the server gives, or with why it cannot be reached. It waits 5 seconds at most.
func Ready(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/readyz", nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{ // without the proxy of the environment
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			host := address // a wildcard means this machine
			if path, ok := strings.CutPrefix(address, "unix:"); ok {
				network, host = "unix", path
			}
			return new(net.Dialer).DialContext(ctx, network, host)
		},
	}
	response, err := transport.RoundTrip(request)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the server at %s has not answered within %s", address, readyTimeout)
	}
	if err != nil {
		return fmt.Errorf("the server at %s cannot be reached: %w", address, err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	reason, _ := io.ReadAll(io.LimitReader(response.Body, 1000)) // the status says enough if it breaks off
	return fmt.Errorf("the server at %s is not ready: %s", address, cmp.Or(strings.TrimSpace(string(reason)), response.Status))
}
