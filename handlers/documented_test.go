package handlers_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"daybook/database/databasetest"
	"daybook/handlers"
)

// documented are the proxies as docs/operating.md has their settings. To these come what the tests need: another port and
// certificate.
var documented = []struct {
	proxy   reverseProxy
	replace []string
}{
	{reverseProxies[0], []string{"listen 443", "listen FRONT", "/etc/ssl/log.example.org", "DIR/certificate"}},
	{reverseProxies[1], []string{"log.example.org {", "log.example.org:PORT {\n\tbind 127.0.0.1\n\ttls DIR/certificate.pem DIR/certificate.key"}},
}

// around is what the settings of a server stand in.
var around = []string{
	`daemon off;
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
		SERVER
	}`,
	`{
		admin off
		auto_https disable_redirects
	}
	SERVER`,
}

// settings returns the block of code in docs/operating.md that is written in the language.
func settings(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindSubmatch(text)
	if found == nil {
		t.Fatalf("docs/operating.md has no settings of %s", language)
	}
	return string(found[1])
}

// certificate writes a certificate for the name and its key to the folder, and returns what trusts it.
func certificate(t *testing.T, folder, name string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	public, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		"certificate.pem": {Type: "CERTIFICATE", Bytes: public},
		"certificate.key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(folder, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public}))
	return trusted
}

// TestDocumentedProxies runs Daybook behind proxies with the settings in docs/operating.md: with TLS, HTTP/2 and a path.
func TestDocumentedProxies(t *testing.T) {
	skipOnPostgreSQL(t)
	for i, test := range documented {
		t.Run(test.proxy.name, func(t *testing.T) {
			b := openWith(t, databasetest.New(t), handlers.Access{Hosts: []string{"log.example.org"}, Proxies: proxies(t, "127.0.0.1")})
			proxy, folder := test.proxy, t.TempDir()
			trusted := certificate(t, folder, "log.example.org")
			text := strings.NewReplacer(append(test.replace, "127.0.0.1:8080", "BOOK")...).Replace(settings(t, strings.ToLower(proxy.name)))
			proxy.configuration = strings.ReplaceAll(strings.ReplaceAll(around[i], "SERVER", text), "DIR/certificate", folder+"/certificate")
			address := proxy.start(b)
			transport := &http.Transport{
				TLSClientConfig:   &tls.Config{RootCAs: trusted},
				ForceAttemptHTTP2: true,
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}} // the visitor
					return from.DialContext(ctx, "tcp", address)
				},
			}
			defer transport.CloseIdleConnections()
			_, port, _ := net.SplitHostPort(address)
			visitor{t, &http.Client{Transport: transport}, "https://log.example.org:" + port + "/daybook/"}.tour(b)
		})
	}
}

// visitor is who visits the book at an address.
type visitor struct {
	t       *testing.T
	client  *http.Client
	address string
}

// ask sends a request and follows its redirects. The headers are pairs of name and value.
func (v visitor) ask(method, path, body string, headers ...string) *http.Response {
	v.t.Helper()
	request, err := http.NewRequestWithContext(v.t.Context(), method, v.address+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := v.client.Do(request)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { response.Body.Close() })
	return response
}

// want checks to which address of the book a response belongs, its status, and a part of its body.
func (v visitor) want(got *http.Response, path string, status int, part string) {
	v.t.Helper()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	if at := got.Request.URL.String(); at != v.address+path || got.StatusCode != status || !strings.Contains(string(body), part) {
		v.t.Errorf("%s is answered %s, and not %d with %q:\n%s", at, got.Status, status, part, body)
	}
}

// tour does what visitors do with the book.
func (v visitor) tour(b *book) {
	origin := strings.TrimSuffix(v.address, "/daybook/")
	following := v.ask("GET", "live", "", "Accept", "text/event-stream")
	live := &follower{v.t, following, bufio.NewReader(following.Body)}

	page := v.ask("GET", "", "", "Accept", browser)
	v.want(page, "", http.StatusOK, "world&#39; "+origin+"/record") // to which the script adds the path
	if page.ProtoMajor != 2 || page.Header.Get("Content-Security-Policy") == "" {
		v.t.Errorf("the page comes by %s with %v", page.Proto, page.Header)
	}
	byForm := v.ask("POST", "record", "msg=by+form", "Content-Type", form, "Accept", browser, "Origin", origin, "Sec-Fetch-Site", "same-origin")
	v.want(byForm, "", http.StatusOK, "by form")
	byCurl := v.ask("POST", "record", "by curl", "Content-Type", "text/plain")
	v.want(byCurl, "record", http.StatusCreated, "Recorded: by curl\n")
	if at, err := byCurl.Location(); err != nil || at.String() != v.address+"messages/2" {
		v.t.Errorf("the location is %s, %v", at, err)
	}
	for _, want := range []string{"by form", "by curl"} {
		if id, data := live.event(); !strings.Contains(data, want) {
			v.t.Errorf("the follower gets %s %q", id, data)
		}
	}
	v.want(v.ask("GET", "messages/404", ""), "messages/404", http.StatusNotFound, "There is no message 404.")
	bare := visitor{v.t, v.client, strings.TrimSuffix(v.address, "/")}
	v.want(bare.ask("GET", "", ""), "", http.StatusOK, "by curl")

	b.log.waitFor(v.t, 6, "client=127.0.0.2 ")
	if strings.Contains(b.log.String(), "client=127.0.0.1 ") {
		v.t.Errorf("a visitor has the proxy's address:\n%s", b.log)
	}
}
