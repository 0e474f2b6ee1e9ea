package handlers_test

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"daybook/database/databasetest"
	"daybook/handlers"
)

// TestHost asks for the page by many names.
func TestHost(t *testing.T) {
	for name, test := range map[string]struct {
		hosts    []string
		accepted []string
		refused  []string
	}{
		"no names": {
			accepted: []string{"127.0.0.1", "127.0.0.1:80", "10.0.0.1:8080", "[::1]", "[::1]:8080", "[fe80::1]", "localhost", "LocalHost:8080",
				"localhost.", "log.localhost", "a.b.localhost:1"},
			refused: []string{"example.org", "localhost.example.org", "notlocalhost", "127.0.0.1.example.org", "127.1", "0x7f000001",
				"localhost.localdomain", "localhost:80:80", "a@localhost"},
		},
		"names": {
			hosts:    []string{"log.example.org", "Other.Example.org."},
			accepted: []string{"log.example.org", "LOG.example.org:443", "log.example.org.", "other.example.org", "localhost", "127.0.0.1"},
			refused:  []string{"example.org", "xlog.example.org", "log.example.org.evil.example", "evil.log.example.org", "log.example.com"},
		},
		"any name": {hosts: []string{"*"}, accepted: []string{"example.org", "localhost", "127.0.0.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := openWith(t, databasetest.New(t), handlers.Access{Hosts: test.hosts})
			for _, path := range []string{"/", "/record?msg=hello", "/healthz", "/nothing"} {
				for _, host := range test.accepted {
					if got := b.sendTo(host, path); got.status == http.StatusMisdirectedRequest {
						t.Errorf("%s at %s: answered %d %s", path, host, got.status, got.body)
					}
				}
				for _, host := range test.refused {
					before := len(b.values())
					got := b.sendTo(host, path)
					if got.status != http.StatusMisdirectedRequest && got.status != http.StatusBadRequest || len(b.values()) != before {
						t.Errorf("%s at %s: answered %d %s", path, host, got.status, got.body)
					}
					if got.status == http.StatusMisdirectedRequest && !strings.Contains(got.body, "--host") {
						t.Errorf("%s at %s: the answer is %q", path, host, got.body)
					}
				}
			}
		})
	}
}

// sendTo sends a GET request with the Host.
func (b *book) sendTo(host, path string, headers ...string) answer {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), "GET", b.url+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	request.Host = host
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

// TestProxyIsBelieved has requests from a proxy and from others, with what each says in its headers.
func TestProxyIsBelieved(t *testing.T) {
	here := proxies(t, "127.0.0.1")
	chain := proxies(t, "127.0.0.0/8", "10.0.0.0/8", "2001:db8::/32")
	for name, test := range map[string]struct {
		proxies []handlers.Proxy
		headers []string
		client  string
		command string // that the page shows; "" for a refused name
	}{
		"nobody is believed": {nil, []string{"X-Forwarded-For", "9.9.9.9", "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https"},
			"127.0.0.1", "log.example.org/record"},
		"another one is believed": {proxies(t, "10.0.0.1"), []string{"X-Forwarded-For", "9.9.9.9", "X-Forwarded-Proto", "https"},
			"127.0.0.1", "log.example.org/record"},
		"it says nothing":     {here, nil, "127.0.0.1", "log.example.org/record"},
		"it says all":         {here, []string{"X-Forwarded-For", "9.9.9.9", "X-Forwarded-Host", "www.example.org", "X-Forwarded-Proto", "https"}, "9.9.9.9", "https://www.example.org/record"},
		"another name":        {here, []string{"X-Forwarded-Host", "evil.example"}, "127.0.0.1", ""},
		"a forged visitor":    {here, []string{"X-Forwarded-For", "1.1.1.1, 9.9.9.9"}, "9.9.9.9", "log.example.org/record"},
		"in two headers":      {here, []string{"X-Forwarded-For", "1.1.1.1", "X-Forwarded-For", "9.9.9.9"}, "9.9.9.9", "log.example.org/record"},
		"a chain":             {chain, []string{"X-Forwarded-For", "1.1.1.1, 9.9.9.9, 10.1.1.1, 10.2.2.2"}, "9.9.9.9", "log.example.org/record"},
		"a chain of proxies":  {chain, []string{"X-Forwarded-For", "10.3.3.3, 10.1.1.1"}, "10.3.3.3", "log.example.org/record"},
		"IPv6":                {chain, []string{"X-Forwarded-For", "2001:db9::1,2001:db8::1"}, "2001:db9::1", "log.example.org/record"},
		"IPv4 as IPv6":        {chain, []string{"X-Forwarded-For", "::ffff:9.9.9.9,::ffff:10.1.1.1"}, "9.9.9.9", "log.example.org/record"},
		"nonsense":            {here, []string{"X-Forwarded-For", "unknown"}, "127.0.0.1", "log.example.org/record"},
		"nonsense before":     {here, []string{"X-Forwarded-For", "unknown, 9.9.9.9"}, "9.9.9.9", "log.example.org/record"},
		"nonsense between":    {chain, []string{"X-Forwarded-For", "9.9.9.9, <script>, 10.1.1.1"}, "10.1.1.1", "log.example.org/record"},
		"schemes of a chain":  {chain, []string{"X-Forwarded-Proto", "https, http"}, "127.0.0.1", "log.example.org/record"},
		"a scheme of no kind": {here, []string{"X-Forwarded-Proto", "gopher"}, "127.0.0.1", "log.example.org/record"},
		"other headers": {here, []string{"X-Real-Ip", "9.9.9.9", "X-Forwarded-Ssl", "on", "X-Url-Scheme", "https", "Forwarded", "for=9.9.9.9"},
			"127.0.0.1", "log.example.org/record"},
	} {
		t.Run(name, func(t *testing.T) {
			b := openWith(t, databasetest.New(t), handlers.Access{Proxies: test.proxies, Hosts: []string{"log.example.org", "www.example.org"}})
			if got := b.sendTo("evil.example", "/", append(test.headers, "X-Forwarded-Host", "localhost")...); got.status != http.StatusMisdirectedRequest {
				t.Errorf("a stranger's name, which the proxy passes on: answered %d", got.status)
			}
			got := b.sendTo("log.example.org", "/?format=html", test.headers...)
			if test.command == "" {
				if got.status != http.StatusMisdirectedRequest {
					t.Errorf("answered %d", got.status)
				}
			} else if want := "curl -d &#39;hello world&#39; " + test.command + "<"; !strings.Contains(got.body, want) {
				t.Errorf("the page does not contain %s:\n%s", want, got.body)
			}
			b.log.waitFor(t, 1, "client="+test.client+" ")
		})
	}
}

// proxies reads proxies as the command line does.
func proxies(t testing.TB, texts ...string) (proxies []handlers.Proxy) {
	t.Helper()
	for _, text := range texts {
		var p handlers.Proxy
		if err := p.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		proxies = append(proxies, p)
	}
	return proxies
}

func TestProxyThatIsNone(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.1": "10.0.0.1/32", "::1": "::1/128", "10.0.0.0/8": "10.0.0.0/8", "unix": "invalid Prefix",
		"": "", "example.org": "", "10.0.0.0/33": "", "10.0.0.1:80": "", "Unix": "",
	} {
		var p handlers.Proxy
		err := p.UnmarshalText([]byte(text))
		if (err != nil) != (want == "") || err == nil && fmt.Sprint(netip.Prefix(p.Prefix)) != want {
			t.Errorf("%q is read as %v, %v", text, p, err)
		}
	}
}
