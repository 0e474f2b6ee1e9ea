package handlers_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// number stands in the targets of all requests of a case, for its number.
const number = "case=00"

// smuggled is a request in the body of another one.
const smuggled = "POST /record?" + number + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nsmuggled"

// rawRequests are requests as no browser and no curl sends them. They are followed by a GET /healthz on the same connection.
var rawRequests = []struct {
	name, raw string
	half      bool   // the client sends no more, and does not ask for /healthz
	answers   string // with which statuses Daybook answers, and "ok" if the connection is usable after that
	seen      int    // so many requests reach Daybook's handlers, without /healthz
	records   []string
}{
	{name: "a request", raw: rawPost("Content-Length: 5", "hello"), answers: "201 ok", seen: 1, records: []string{"hello"}},
	{name: "two pipelined requests", raw: rawPost("Content-Length: 5", "hello") + smuggled, answers: "201 201 ok", seen: 2, records: []string{"hello", "smuggled"}},
	{name: "a request, half-closed", raw: rawGet("Host: localhost"), half: true, answers: "200|499", seen: 1}, // by whether the end is noticed before the answer is sent

	// Where a body ends.
	{name: "chunked, with a length", raw: rawPost("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"+smuggled), answers: "422 201 ok", seen: 2, records: []string{"smuggled"}},
	{name: "chunked, with a length of all", raw: rawPost(fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked", 5+len(smuggled)), "0\r\n\r\n"+smuggled), answers: "422 201 ok", seen: 2, records: []string{"smuggled"}},
	{name: "chunked twice", raw: rawPost("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"+smuggled), answers: "501"},
	{name: "chunked, then identity", raw: rawPost("Transfer-Encoding: chunked, identity", "0\r\n\r\n"+smuggled), answers: "501"},
	{name: "chunked by another name", raw: rawPost("Transfer-Encoding: xchunked", "0\r\n\r\n"+smuggled), answers: "501"},
	{name: "chunked after a vertical tab", raw: rawPost("Transfer-Encoding: \vchunked", "0\r\n\r\n"+smuggled), answers: "400"},
	{name: "chunked, in HTTP/1.0", raw: strings.Replace(rawPost("Transfer-Encoding: chunked", "0\r\n\r\n"+smuggled), "1.1", "1.0", 1), answers: "422", seen: 1},
	{name: "two lengths", raw: rawPost(fmt.Sprintf("Content-Length: 5\r\nContent-Length: %d", 5+len(smuggled)), "hello"+smuggled), answers: "400"},
	{name: "two lengths in one", raw: rawPost(fmt.Sprintf("Content-Length: 5, %d", 5+len(smuggled)), "hello"+smuggled), answers: "400"},
	{name: "two equal lengths", raw: rawPost("Content-Length: 5\r\nContent-Length: 5", "hello"), answers: "201 ok", seen: 1, records: []string{"hello"}},
	{name: "a negative length", raw: rawPost("Content-Length: -1", smuggled), answers: "400"},
	{name: "a length with a sign", raw: rawPost("Content-Length: +5", "hello"+smuggled), answers: "400"},
	{name: "a huge length", raw: rawPost("Content-Length: 99999999999999999999", smuggled), answers: "400"},
	{name: "a length that is no number", raw: rawPost("Content-Length: five", "hello"+smuggled), answers: "400"},
	{name: "a hexadecimal length", raw: rawPost("Content-Length: 0x5", "hello"+smuggled), answers: "400"},
	{name: "a length, and less", raw: rawPost("Content-Length: 50", "hello"), half: true, answers: "400", seen: 1},
	{name: "a length with a space before the colon", raw: rawPost("Content-Length : 5", "hello"+smuggled), answers: "400"},
	{name: "a body with GET", raw: rawGet(fmt.Sprintf("Host: localhost\r\nContent-Length: %d", len(smuggled))) + smuggled, answers: "200 ok", seen: 1},
	{name: "no length", raw: rawPost("X: y", smuggled), answers: "422 201 ok", seen: 2, records: []string{"smuggled"}},

	// Chunks.
	{name: "a chunk of a size that is no number", raw: chunked("xyz\r\nhello\r\n0\r\n\r\n" + smuggled), answers: "400", seen: 1},
	{name: "a chunk with an extension", raw: chunked("5;name=value\r\nhello\r\n0\r\n\r\n"), answers: "201 ok", seen: 1, records: []string{"hello"}},
	{name: "a chunk with an extension of one newline", raw: chunked("5;\nhello\r\n0\r\n\r\n" + smuggled), answers: "400", seen: 1},
	{name: "a chunk of an overflowing size", raw: chunked("10000000000000005\r\nhello\r\n0\r\n\r\n" + smuggled), answers: "400", seen: 1},
	{name: "a chunk of a negative size", raw: chunked("-5\r\nhello\r\n0\r\n\r\n" + smuggled), answers: "400", seen: 1},
	{name: "a chunk that is too long", raw: chunked("5\r\nhello world\r\n0\r\n\r\n" + smuggled), answers: "400", seen: 1},
	{name: "chunks ended by newlines", raw: chunked("5\nhello\n0\n\n" + smuggled), answers: "400", seen: 1},
	{name: "chunks without an end", raw: chunked("5\r\nhello\r\n"), half: true, answers: "400", seen: 1},
	{name: "a trailer", raw: chunked("5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n"), answers: "201 ok", seen: 1, records: []string{"hello"}},

	// Lines.
	{name: "newlines alone", raw: strings.ReplaceAll(rawPost("Content-Length: 5", "hello"), "\r\n", "\n"), answers: "201 ok", seen: 1, records: []string{"hello"}},
	{name: "carriage returns alone", raw: strings.ReplaceAll(rawGet("Host: localhost"), "\r\n", "\r"), half: true, answers: "400"},
	{name: "a carriage return in a header", raw: rawGet("Host: localhost\r\nX: a\rContent-Length: 5"), answers: "400"},
	{name: "a folded header", raw: rawPost("X: a\r\n Content-Length: 50\r\nContent-Length: 5", "hello"), answers: "201 ok", seen: 1, records: []string{"hello"}},
	{name: "a folded first header", raw: "GET /?" + number + " HTTP/1.1\r\n Host: localhost\r\n\r\n", answers: "400"},
	{name: "a space before a colon", raw: rawGet("Host: localhost\r\nX : y"), answers: "400"},
	{name: "NUL in a header", raw: rawGet("Host: localhost\r\nX: a\x00b"), answers: "400"},
	{name: "a header without a name", raw: rawGet("Host: localhost\r\n: y"), answers: "400"},
	{name: "a header without a colon", raw: rawGet("Host: localhost\r\nX"), answers: "400"},
	{name: "a header of 100 KB", raw: rawGet("Host: localhost\r\nX: " + strings.Repeat("x", 100_000)), answers: "431"},
	{name: "10,000 headers", raw: rawGet("Host: localhost" + strings.Repeat("\r\nX: y", 10_000)), answers: "200 ok", seen: 1},

	// Whose server is asked.
	{name: "no host", raw: rawGet("X: y"), answers: "400"},
	{name: "no host in HTTP/1.0", raw: "GET /?" + number + " HTTP/1.0\r\n\r\n", answers: "421", seen: 1},
	{name: "two hosts", raw: rawGet("Host: localhost\r\nHost: evil.example"), answers: "400"},
	{name: "a host with a path", raw: rawGet("Host: localhost/evil.example"), answers: "400"},
	{name: "a host with a space", raw: rawGet("Host: localhost evil.example"), answers: "400"},
	{name: "a host with a user", raw: rawGet("Host: localhost@evil.example"), answers: "400"},
	{name: "a stranger's host", raw: rawGet("Host: evil.example"), answers: "421 ok", seen: 1},
	{name: "a stranger's host in the target", raw: strings.Replace(rawGet("Host: localhost"), " /", " http://evil.example/", 1), answers: "421 ok", seen: 1},
	{name: "a stranger's host beside the target", raw: strings.Replace(rawGet("Host: evil.example"), " /", " http://localhost/", 1), answers: "200 ok", seen: 1},

	// What is asked.
	{name: "OPTIONS *", raw: "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", answers: "200 ok"},
	{name: "CONNECT", raw: "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n" + smuggled, answers: "404 201 ok", seen: 2, records: []string{"smuggled"}},
	{name: "a method in lower case", raw: strings.Replace(rawGet("Host: localhost"), "GET", "get", 1), answers: "405 ok", seen: 1},
	{name: "a method with a space after it", raw: strings.Replace(rawGet("Host: localhost"), "GET", "GET ", 1), answers: "400"},
	{name: "a target of 100 KB", raw: strings.Replace(rawGet("Host: localhost"), "/?", "/"+strings.Repeat("x", 100_000)+"?", 1), answers: "431"},
	{name: "a target with a space", raw: strings.Replace(rawGet("Host: localhost"), " /?", " /?q=a b&", 1), answers: "400"},
	{name: "HTTP/0.9", raw: "GET /\r\n", half: true, answers: "400"},
	{name: "HTTP/2", raw: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", half: true, answers: "421", seen: 1},
	{name: "HTTP/9.9", raw: strings.Replace(rawGet("Host: localhost"), "1.1", "9.9", 1), answers: "505"},
	{name: "TLS", raw: "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + strings.Repeat("x", 157), half: true, answers: "400"},

	// How it goes on.
	{name: "a body after 100 Continue", raw: rawPost("Content-Length: 5\r\nExpect: 100-continue", "hello"), answers: "100 201 ok", seen: 1, records: []string{"hello"}},
	{name: "no body after 100 Continue", raw: rawPost("Content-Length: 5\r\nExpect: 100-continue", ""), half: true, answers: "100 400", seen: 1},
	{name: "another expectation", raw: rawPost("Content-Length: 5\r\nExpect: smuggling", "hello"), answers: "417"},
	{name: "an upgrade to h2c", raw: rawGet("Host: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__") + smuggled, answers: "200 201 ok", seen: 2, records: []string{"smuggled"}},
	{name: "an upgrade to a web socket", raw: rawGet("Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==") + smuggled, answers: "200 201 ok", seen: 2, records: []string{"smuggled"}},
	{name: "a hop-by-hop length", raw: rawPost("Content-Length: 5\r\nConnection: Content-Length", "hello"), answers: "201 ok", seen: 1, records: []string{"hello"}},
}

// rawGet is a request for the list, with only these headers.
func rawGet(headers string) string { return "GET /?" + number + " HTTP/1.1\r\n" + headers + "\r\n\r\n" }

// rawPost is a request that records a body, with more headers.
func rawPost(headers, body string) string {
	return "POST /record?" + number + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n" + headers + "\r\n\r\n" + body
}

// chunked is a request that records a body of chunks.
func chunked(body string) string { return rawPost("Transfer-Encoding: chunked", body) }

// converse sends a raw request and, on the same connection, asks for /healthz, or half-closes the connection. It returns the status
// of each answer; "ok" is that of /healthz.
func converse(t *testing.T, address, raw string, half bool) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if !half {
		raw += "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	}
	_, _ = io.WriteString(conn, raw) // the server may close before it has read all
	if half {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	var answers []string
	reader := bufio.NewReader(conn)
	for {
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				answers = append(answers, "waits")
			}
			return strings.Join(answers, " ")
		}
		body, _ := io.ReadAll(response.Body)
		status := fmt.Sprint(response.StatusCode)
		if string(body) == "ok\n" {
			status = "ok"
		}
		answers = append(answers, status)
	}
}

// arrived returns how many requests have reached the book, without those for /healthz.
func (b *book) arrived() int {
	came := b.came.String()
	return strings.Count(came, "\n") - strings.Count(came, " /healthz ")
}

func TestRawRequests(t *testing.T) {
	skipOnPostgreSQL(t)
	for _, test := range rawRequests {
		t.Run(test.name, func(t *testing.T) {
			b := open(t)
			if got := converse(t, b.addr, test.raw, test.half); !slices.Contains(strings.Split(test.answers, "|"), got) {
				t.Errorf("answered %q, want %q", got, test.answers)
			}
			if got := b.arrived(); got != test.seen {
				t.Errorf("%d requests have come, want %d:\n%s", got, test.seen, b.came)
			}
			b.recorded(test.records...)
		})
	}
}
