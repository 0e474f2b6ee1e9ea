package handlers_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"daybook/static"
)

// browser is what Chromium asks for when it opens a page.
const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"

// TestAddresses asks for every address in every format, of a book with one message.
func TestAddresses(t *testing.T) {
	const line = `^1\t\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\ta <b>\\n\\u001b\[31m\n$`
	const message = `"id":1,"value":"a <b>\\n\\u001b\[31m","recorded_at":"[0-9T:-]+\.\d{6}Z"`
	const curl = `curl -d 'hello world' 127\.0\.0\.1:\d+/record`
	b := open(t)
	b.record("a <b>\n\x1b[31m")
	for _, test := range []struct {
		method, path, accept string
		status               int
		contentType, body    string // the body is a regular expression
	}{
		{"GET", "/", "*/*", 200, "text/plain", line},
		{"GET", "/", "", 200, "text/plain", line},
		{"GET", "/", "text/plain", 200, "text/plain", line},
		{"GET", "/", browser, 200, "text/html", `(?s)<form.*a &lt;b&gt;\n\x1b\[31m</p>`},
		{"GET", "/", "application/json", 200, "application/json", `^\{"messages":\[\{` + message + `\}\]\}\n$`},
		{"GET", "/?format=json", browser, 200, "application/json", `^\{"messages"`},
		{"GET", "/?format=text", browser, 200, "text/plain", line},
		{"GET", "/?format=html", "*/*", 200, "text/html", `<form`},
		{"GET", "/?format=pdf", "*/*", 406, "text/plain", `^The formats of this address are text \(text/plain\), .*\.\n$`},
		{"GET", "/", "image/png", 406, "text/plain", `^The formats of this address are text \(text/plain\), .*\.\n$`},
		{"GET", "/messages/1", "*/*", 200, "text/plain", line},
		{"GET", "/messages/1", browser, 200, "text/html", `(?s)<h1>Message 1</h1>.*a &lt;b&gt;`},
		{"GET", "/messages/1", "application/json", 200, "application/json", `^\{` + message + `\}\n$`},
		{"GET", "/messages/2", "*/*", 404, "text/plain", `^There is no message 2\.\n$`},
		{"GET", "/messages/2", browser, 404, "text/html", `(?s)<h1>There is no message 2\.</h1>.*href="../"`},
		{"GET", "/messages/2", "application/json", 404, "application/problem+json",
			`^\{"title":"Not Found","status":404,"detail":"There is no message 2\."\}\n$`},
		{"GET", "/messages/x%1B", "*/*", 404, "text/plain", `^There is no message x\\u001b\.\n$`},
		{"GET", "/record", "*/*", 422, "text/plain", `^Nothing is recorded yet\. To record: ` + curl + `\n$`},
		{"GET", "/record", "application/json", 422, "application/problem+json", curl},
		{"GET", "/record", browser, 200, "text/html", `<form class="record" method="post" action="./record">`},
		{"GET", "/healthz", "*/*", 200, "text/plain", `^ok\n$`},
		{"GET", "/readyz", "*/*", 200, "text/plain", `^ready\n$`},
		{"GET", "/robots.txt", "*/*", 200, "text/plain", `(?m)^Disallow: /record$`},
		{"GET", "/nothing/here", "*/*", 404, "text/plain", `^There is nothing at this address\.\n$`},
		{"GET", "/nothing/here", browser, 404, "text/html", `(?s)404 Not Found.*href="../"`},
		{"GET", "/nothing/here", "application/json", 404, "application/problem+json", `"status":404`},
		{"GET", "/static/none.css", "*/*", 404, "text/plain", `^There is nothing`},
		{"PUT", "/", "*/*", 405, "text/plain", `^This address does not support that method\. To record a message, use POST /record\.\n$`},
		{"POST", "/", browser, 405, "text/html", `405 Method Not Allowed`},
		{"DELETE", "/record", "application/json", 405, "application/problem+json", `"status":405`},
	} {
		t.Run(test.method+" "+test.path+" "+test.accept, func(t *testing.T) {
			got := b.send(test.method, test.path, "", "Accept", test.accept)
			if got.status != test.status {
				t.Errorf("status %d, want %d", got.status, test.status)
			}
			if want := test.contentType + "; charset=utf-8"; !strings.EqualFold(got.header.Get("Content-Type"), want) {
				t.Errorf("Content-Type %q, want %q", got.header.Get("Content-Type"), want)
			}
			if !regexp.MustCompile(test.body).MatchString(got.body) {
				t.Errorf("body\n%q\ndoes not match\n%q", got.body, test.body)
			}
			if got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("X-Request-Id") == "" {
				t.Errorf("headers are missing: %v", got.header)
			}
			if got.status == 405 && !strings.Contains(got.header.Get("Allow"), "GET") {
				t.Errorf("Allow %q", got.header.Get("Allow"))
			}
			if test.method != "GET" {
				return
			}
			head := b.send("HEAD", test.path, "", "Accept", test.accept)
			if head.status != got.status || head.body != "" || head.header.Get("Content-Type") != got.header.Get("Content-Type") ||
				head.header.Get("Content-Length") != got.header.Get("Content-Length") {
				t.Errorf("HEAD is answered %d %v, GET %d %v", head.status, head.header, got.status, got.header)
			}
		})
	}
}

func TestNegotiatedAnswersVary(t *testing.T) {
	b := open(t)
	for _, path := range []string{"/", "/record", "/messages/9", "/nothing"} {
		if got := b.send("GET", path, "").header.Values("Vary"); len(got) != 1 || got[0] != "Accept" {
			t.Errorf("%s: Vary %q", path, got)
		}
	}
}

func TestAccept(t *testing.T) {
	b := open(t)
	for accept, want := range map[string]string{
		"text/html, application/json":                  "text/html",
		"application/json, text/html":                  "application/json",
		"application/json;q=0.5, text/html;q=0.9":      "text/html",
		"text/html;q=0.5, text/*":                      "text/plain",
		"text/*, text/plain;q=0":                       "text/html",
		"application/*":                                "application/json",
		"image/webp, */*;q=0.1":                        "text/plain",
		"application/json, text/plain, */*":            "application/json",
		"TEXT/HTML":                                    "text/html",
		"text/html ; charset=utf-8 ; Q=0.2, */*;q=0.1": "text/html",
		"garbage":        "406",
		"text/plain;q=0": "406",
	} {
		got := b.send("GET", "/", "", "Accept", accept)
		if want == "406" && got.status == 406 {
			continue
		}
		if mediaType, _, _ := strings.Cut(got.header.Get("Content-Type"), ";"); mediaType != want {
			t.Errorf("Accept: %s gives %d %s, want %s", accept, got.status, mediaType, want)
		}
	}
}

func TestPagesLoadOnlyWhatIsServed(t *testing.T) {
	b := open(t)
	page := b.send("GET", "/", "", "Accept", browser)
	problem := b.send("GET", "/nowhere", "", "Accept", browser)
	files := regexp.MustCompile(`(?:src|href)="\./(static/[^"]+)"`).FindAllStringSubmatch(page.body, -1)
	if len(files) != 5 {
		t.Fatalf("the page names %d files, want style sheet, script, two icons and manifest", len(files))
	}
	for _, file := range files {
		got := b.send("GET", "/"+file[1], "")
		if got.status != 200 || !strings.Contains(got.header.Get("Cache-Control"), "immutable") || got.body == "" {
			t.Errorf("%s: %d %v", file[1], got.status, got.header)
		}
	}
	for _, page := range []answer{page, problem} {
		policy := page.header.Get("Content-Security-Policy")
		if policy == "" || strings.Contains(policy, "unsafe") || strings.Contains(page.body, "style=") {
			t.Errorf("Content-Security-Policy %q", policy)
		}
		if page.header.Get("Referrer-Policy") != "same-origin" || page.header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("headers are missing: %v", page.header)
		}
	}
}

func TestListShowsTheNewestFifty(t *testing.T) {
	b := open(t)
	for range 51 {
		b.record("a")
	}
	lines := strings.Split(strings.TrimSuffix(b.send("GET", "/", "").body, "\n"), "\n")
	if len(lines) != 50 || !strings.HasPrefix(lines[0], "2\t") || !strings.HasPrefix(lines[49], "51\t") {
		t.Errorf("%d lines, from %q to %q", len(lines), lines[0], lines[len(lines)-1])
	}
	if empty := open(t).send("GET", "/", ""); empty.status != 200 || empty.body != "" {
		t.Errorf("an empty book is %d %q", empty.status, empty.body)
	}
}

func TestRecordAnswersInEachFormat(t *testing.T) {
	b := open(t)
	asText := b.send("POST", "/record", "msg=a%09b", "Content-Type", "application/x-www-form-urlencoded")
	if asText.status != 201 || asText.body != "Recorded: a\\tb\n" || !strings.HasSuffix(asText.header.Get("Location"), "messages/1") {
		t.Errorf("text: %d %q, Location %q", asText.status, asText.body, asText.header.Get("Location"))
	}
	asJSON := b.send("POST", "/record", `{"msg":"c"}`, "Content-Type", "application/json", "Accept", "application/json")
	var message struct {
		ID    int
		Value string
	}
	if err := json.Unmarshal([]byte(asJSON.body), &message); err != nil || asJSON.status != 201 || message.ID != 2 || message.Value != "c" {
		t.Errorf("JSON: %d %q, %v", asJSON.status, asJSON.body, err)
	}
	asHTML := b.send("POST", "/record", "msg=d", "Content-Type", "application/x-www-form-urlencoded", "Accept", browser)
	if asHTML.status != 303 || asHTML.header.Get("Location") != "./" {
		t.Errorf("HTML: %d, Location %q", asHTML.status, asHTML.header.Get("Location"))
	}
	if refused := b.send("POST", "/record", "e", "Accept", "image/png"); refused.status != 406 || len(b.values()) != 3 {
		t.Errorf("a format that there is not: %d, and %d messages", refused.status, len(b.values()))
	}
}

func TestRefusedMessageStaysInTheForm(t *testing.T) {
	b := open(t)
	long := strings.Repeat("ö", maxMessage)
	got := b.send("POST", "/record", "msg="+long, "Content-Type", "application/x-www-form-urlencoded", "Accept", browser)
	if got.status != 413 || !strings.Contains(got.body, long) || !strings.Contains(got.body, `role="alert"`) {
		t.Errorf("answered %d %s", got.status, got.body)
	}
}

// TestHeadersOfEveryAnswer looks at what protects answers of every kind from other sites' pages.
func TestHeadersOfEveryAnswer(t *testing.T) {
	b := open(t)
	b.record("hello")
	for _, test := range []struct {
		method, path, body, accept string
		status                     int
		negotiated                 bool
	}{
		{"GET", "/", "", "*/*", 200, true},
		{"GET", "/", "", browser, 200, true},
		{"HEAD", "/", "", browser, 200, true},
		{"GET", "/?all&format=ndjson", "", "*/*", 200, true},
		{"HEAD", "/live", "", "*/*", 200, true},
		{"GET", "/feed", "", "*/*", 200, true},
		{"GET", "/?limit=none", "", "*/*", 400, true},
		{"GET", "/nothing", "", "application/json", 404, true},
		{"GET", "/", "", "image/png", 406, true},
		{"PATCH", "/", "", "*/*", 405, true},
		{"POST", "/record", "msg=a", browser, 303, true},
		{"POST", "/record", strings.Repeat("a", maxMessage+1), "*/*", 413, true},
		{"POST", "/record", "", "*/*", 422, true},
		{"GET", "/healthz", "", "*/*", 200, false},
		{"GET", "/readyz", "", "*/*", 200, false},
		{"GET", "/metrics", "", "*/*", 200, true},
		{"GET", "/robots.txt", "", "*/*", 200, false},
		{"GET", "/" + static.Path("daybook.css"), "", "*/*", 200, false},
		{"GET", "/static/none.css", "", "*/*", 404, true},
	} {
		got := b.send(test.method, test.path, test.body, "Accept", test.accept, "Content-Type", form, "X-Request-Id", "forged")
		what := fmt.Sprintf("%s %s as %s", test.method, test.path, test.accept)
		if got.status != test.status {
			t.Errorf("%s: answered %d, want %d", what, got.status, test.status)
		}
		b.checkHeaders(what, got)
		if vary := got.header.Get("Vary"); (vary == "Accept") != test.negotiated {
			t.Errorf("%s: Vary is %q", what, vary)
		}
	}
	b.checkHeaders("another name", b.sendTo("evil.example", "/"))
	b.checkHeaders("another site", b.send("POST", "/record", "a", "Origin", "https://evil.example"))
	b.exec("DROP TABLE messages")
	b.checkHeaders("an internal error", b.send("GET", "/", ""))
	if strings.Contains(b.log.String(), "forged") {
		t.Error("the log has the client's own ID")
	}
}

// checkHeaders checks the headers that every answer has.
func (b *book) checkHeaders(what string, got answer) {
	b.t.Helper()
	for name, want := range map[string]string{
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Referrer-Policy":              "same-origin",
		"Permissions-Policy":           "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
	} {
		if got.header.Get(name) != want {
			b.t.Errorf("%s: %s is %q", what, name, got.header.Get(name))
		}
	}
	policy, file := got.header.Get("Content-Security-Policy"), strings.Contains(got.header.Get("Cache-Control"), "immutable")
	if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") != file || strings.Contains(policy, "sandbox") != file {
		b.t.Errorf("%s: the policy is %q", what, policy)
	}
	if id := got.header.Get("X-Request-Id"); len(id) != 10 {
		b.t.Errorf("%s: the request's ID is %q", what, id)
	}
}

// TestAnotherSiteMayOnlyLink has its page link to an address, frame it, load it and fetch it.
func TestAnotherSiteMayOnlyLink(t *testing.T) {
	b := open(t)
	for _, test := range []struct {
		mode, dest, purpose string
		status              int
	}{
		{"navigate", "document", "", 200},
		{"navigate", "", "", 200},
		{"navigate", "document", "prefetch", 403},
		{"navigate", "document", "prefetch;prerender", 403},
		{"navigate", "iframe", "", 403},
		{"navigate", "frame", "", 403},
		{"navigate", "object", "", 403},
		{"navigate", "embed", "", 403},
		{"no-cors", "image", "", 403},
		{"no-cors", "script", "", 403},
		{"no-cors", "empty", "prefetch", 403},
		{"no-cors", "document", "", 403},
		{"cors", "empty", "", 403},
		{"same-origin", "empty", "", 403},
		{"", "", "", 403},
	} {
		for site, want := range map[string]int{"cross-site": test.status, "same-site": test.status, "same-origin": 200, "none": 200} {
			got := b.send("GET", "/?q=secret", "", "Sec-Fetch-Site", site, "Sec-Fetch-Mode", test.mode, "Sec-Fetch-Dest", test.dest, "Sec-Purpose", test.purpose)
			if got.status != want {
				t.Errorf("%s %+v: answered %d, want %d", site, test, got.status, want)
			}
		}
	}
}

func TestCrossOriginRequestIsRefused(t *testing.T) {
	b := open(t)
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Origin", "https://elsewhere.example"},
		{"Origin", "null"},
	} {
		if got := b.send("POST", "/record", "msg=a", headers...); got.status != 403 {
			t.Errorf("%v: answered %d", headers, got.status)
		}
	}
	if got := b.send("POST", "/record", "msg=a", "Origin", b.url); got.status != 201 {
		t.Errorf("its own page: answered %d %s", got.status, got.body)
	}
	if got := b.values(); len(got) != 1 {
		t.Errorf("the book holds %q", got)
	}
}

func TestRecordByGet(t *testing.T) {
	b := open(t)
	for _, test := range []struct {
		name    string
		records bool
		headers []string
	}{
		{"curl", true, []string{"Accept", "*/*", "User-Agent", "curl/8"}},
		{"wget", true, []string{"Accept", "*/*", "Accept-Encoding", "identity"}},
		{"a program that wants JSON", true, []string{"Accept", "application/json"}},
		{"an address that was typed", false, []string{"Accept", browser, "Accept-Language", "en", "Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate"}},
		{"a link in a page of ours", false, []string{"Accept", browser, "Referer", b.url, "Sec-Fetch-Site", "same-origin"}},
		{"a link in another site", false, []string{"Accept", browser, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}},
		{"a link in a sibling site", false, []string{"Accept", browser, "Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate"}},
		{"a prefetch of what is typed", false, []string{"Accept", browser, "Sec-Fetch-Site", "none", "Sec-Purpose", "prefetch"}},
		{"an older prefetch", false, []string{"Accept", "*/*", "Purpose", "prefetch"}},
		{"an image over plain HTTP", false, []string{"Accept", "image/avif,image/webp,*/*;q=0.8"}},
		{"a page over plain HTTP", false, []string{"Accept", browser}},
		{"a script's fetch over plain HTTP", false, []string{"Accept", "*/*", "Accept-Language", "en"}},
		{"a fetch with an origin", false, []string{"Accept", "*/*", "Origin", "https://elsewhere.example"}},
		{"whatever has a referrer", false, []string{"Accept", "*/*", "Referer", "https://elsewhere.example/"}},
		{"another fetch header", false, []string{"Accept", "*/*", "Sec-Fetch-Dest", "image"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(b.values())
			got := b.send("GET", "/record?msg=hello%20world", "", test.headers...)
			if recorded := len(b.values()) > before; recorded != test.records {
				t.Errorf("recorded %t, want %t (answered %d)", recorded, test.records, got.status)
			}
			if isPage := strings.HasPrefix(got.header.Get("Content-Type"), "text/html"); isPage && !strings.Contains(got.body, "\nhello world</textarea>") {
				t.Errorf("the form is not filled in: %s", got.body)
			}
			if !test.records && got.status < 400 && !strings.Contains(got.body, "<form") {
				t.Errorf("answered %d %q", got.status, got.body)
			}
			if got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("Cache-Control %q", got.header.Get("Cache-Control"))
			}
		})
	}
	before := len(b.values())
	if got := b.send("HEAD", "/record?msg=hello", "", "Accept", "*/*"); got.status != 422 || len(b.values()) != before {
		t.Errorf("HEAD: %d, and %d messages more", got.status, len(b.values())-before)
	}
	if got := b.send(http.MethodGet, "/record?msg=", "", "Accept", "*/*"); got.status != 422 || got.body != "The message is empty.\n" {
		t.Errorf("an empty message: %d %q", got.status, got.body)
	}
}
