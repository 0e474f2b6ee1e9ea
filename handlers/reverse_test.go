package handlers_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"daybook/database/databasetest"
	"daybook/handlers"
)

// reverseProxy is a program that stands before Daybook in practice.
type reverseProxy struct {
	name, install, program string
	configuration          string   // FRONT and PORT are for its own address, BOOK is for that of the book, DIR for a folder
	arguments              []string // before the name of the file with the configuration
}

// reverseProxies keep their connections to the book: over such a connection, a request could be smuggled.
var reverseProxies = []reverseProxy{
	{"nginx", "apt-get install nginx-light", "nginx", `
		daemon off;
		master_process off;
		pid DIR/pid;
		error_log DIR/error;
		events {}
		http {
			access_log off;
			client_body_temp_path DIR/body;
			proxy_temp_path DIR/proxy;
			fastcgi_temp_path DIR/fastcgi;
			uwsgi_temp_path DIR/uwsgi;
			scgi_temp_path DIR/scgi;
			upstream book {
				server BOOK;
				keepalive 8;
			}
			server {
				listen FRONT;
				location / {
					proxy_pass http://book;
					proxy_http_version 1.1;
					proxy_set_header Connection "";
					proxy_set_header Host $http_host;
					proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
					proxy_set_header X-Forwarded-Proto $scheme;
					proxy_set_header X-Forwarded-Host $http_host; # otherwise it passes on what the visitor says
				}
			}
		}`, []string{"-e", "stderr", "-c"}},
	{"Caddy", "apt-get install caddy", "caddy", `
		{
			admin off
			auto_https off
		}
		http://:PORT {
			bind 127.0.0.1
			reverse_proxy BOOK
		}`, []string{"run", "--adapter", "caddyfile", "--config"}},
}

// start starts the proxy before the book, and returns its address.
func (proxy reverseProxy) start(b *book) string {
	b.t.Helper()
	program, folder := need(b.t, proxy.install, proxy.program), b.t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // an address that is free
	if err != nil {
		b.t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	configuration := filepath.Join(folder, "configuration")
	text := strings.NewReplacer("DIR", folder, "BOOK", b.addr, "FRONT", address, "PORT", strings.TrimPrefix(address, "127.0.0.1:")).Replace(proxy.configuration)
	if err := os.WriteFile(configuration, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	command := exec.Command(program, append(slices.Clone(proxy.arguments), configuration)...)
	command.Env = append(os.Environ(), "HOME="+folder, "XDG_DATA_HOME="+folder, "XDG_CONFIG_HOME="+folder)
	var said log
	command.Stdout, command.Stderr = &said, &said
	if err := command.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return address
		}
		if time.Now().After(limit) {
			b.t.Fatalf("%s does not listen: %s", proxy.name, &said)
		}
	}
}

// TestProxiesSmuggleNothing sends the raw requests through reverse proxies.
func TestProxiesSmuggleNothing(t *testing.T) {
	skipOnPostgreSQL(t)
	for _, proxy := range reverseProxies {
		t.Run(proxy.name, func(t *testing.T) {
			b := open(t)
			address := proxy.start(b)
			answers, acknowledged := make([]string, len(rawRequests)), 0
			for i, test := range rawRequests {
				answers[i] = converse(t, address, strings.ReplaceAll(test.raw, number, fmt.Sprintf("case=%02d", i)), test.half)
				acknowledged += strings.Count(answers[i], "201")
			}
			for i, test := range rawRequests { // now, because a proxy may pass a request on after its client has gone
				answered := len(regexp.MustCompile(`\b[2-5]\d\d\b`).FindAllString(answers[i], -1))
				came := strings.Count(b.came.String(), fmt.Sprintf("case=%02d", i))
				if came > max(answered, 1) { // a client that has gone gets no answer
					t.Errorf("%s: answered %q, but Daybook has seen %d requests", test.name, answers[i], came)
				}
			}
			if got := len(b.values()); got > acknowledged {
				t.Errorf("%d messages are recorded, but %d acknowledged", got, acknowledged)
			}
			requests := strings.Split(strings.TrimSpace(b.came.String()), "\n")
			connections := map[string]bool{}
			for _, request := range requests {
				connections[request[strings.LastIndex(request, " ")+1:]] = true
			}
			if len(connections) > len(requests)/2 {
				t.Errorf("for %d requests it makes %d connections: it cannot smuggle", len(requests), len(connections))
			}
		})
	}
}

// TestForgedForwardingChangesNothing forges headers of proxies, through reverse proxies and without one.
func TestForgedForwardingChangesNothing(t *testing.T) {
	skipOnPostgreSQL(t)
	test := func(t *testing.T, through func(b *book) (address string)) {
		b := openWith(t, databasetest.New(t), handlers.Access{Proxies: []handlers.Proxy{{Prefix: netip.MustParsePrefix("127.0.0.1/32")}}})
		address := through(b)
		// The visitor has another address than the proxy.
		transport := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext}
		defer transport.CloseIdleConnections()
		ask := func(headers ...string) string {
			request, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+address+"/record", nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(headers); i += 2 {
				request.Header.Set(headers[i], headers[i+1])
			}
			response, err := transport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			return response.Status + " " + string(body)
		}
		if got := ask(); !strings.HasSuffix(got, " "+address+"/record\n") {
			t.Errorf("the curl line is %q", got)
		}
		for i, forged := range [][]string{
			{"X-Forwarded-For", "9.9.9.9"},
			{"X-Forwarded-For", "9.9.9.9, 127.0.0.1"},
			{"X-Forwarded-Proto", "https"},
			{"X-Forwarded-Host", "evil.example"},
			{"Forwarded", "for=9.9.9.9;host=evil.example;proto=https", "X-Real-Ip", "9.9.9.9"},
		} {
			if got, want := ask(forged...), ask(); got != want {
				t.Errorf("%q: %q, want %q", forged, got, want)
			}
			b.log.waitFor(t, 3+2*i, "client=127.0.0.2 ")
		}
		if strings.Contains(b.log.String(), "9.9.9.9") {
			t.Errorf("the log has the forged address:\n%s", b.log)
		}
	}
	t.Run("directly", func(t *testing.T) { test(t, func(b *book) string { return b.addr }) })
	for _, proxy := range reverseProxies {
		t.Run(proxy.name, func(t *testing.T) {
			test(t, proxy.start)
		})
	}
}
