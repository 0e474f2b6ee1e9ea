package handlers_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"daybook/database/databasetest"
	"daybook/handlers"
	"daybook/static"
)

const token = "f7a1c9d4e8b2063a:x"

func bearer(token string) string { return "Bearer " + token }

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// What a route does, as far as the rules of access go.
type use int

const (
	anybody use = iota + 1
	reads
	records
	removes
)

// routes has the rule of each route.
var routes = map[string]use{
	"GET /":                     reads,
	"HEAD /":                    reads,
	"GET /feed":                 reads,
	"HEAD /feed":                reads,
	"GET /live":                 reads,
	"HEAD /live":                reads,
	"GET /messages/:id":         reads,
	"HEAD /messages/:id":        reads,
	"DELETE /messages/:id":      removes,
	"GET /messages/:id/delete":  removes,
	"HEAD /messages/:id/delete": removes,
	"POST /messages/:id/delete": removes,
	"GET /record":               records,
	"HEAD /record":              records,
	"POST /record":              records,
	"GET /healthz":              anybody,
	"HEAD /healthz":             anybody,
	"GET /readyz":               anybody,
	"HEAD /readyz":              anybody,
	"GET /metrics":              reads,
	"HEAD /metrics":             reads,
	"GET /robots.txt":           anybody,
	"HEAD /robots.txt":          anybody,
	"GET /static/:name":         anybody,
	"HEAD /static/:name":        anybody,
}

// TestEveryRouteHasARule sends a request to every route there is, with every way to show the token or not to.
func TestEveryRouteHasARule(t *testing.T) {
	shown := map[string]bool{ // whether it is the token
		"":                             false,
		bearer(token):                  true,
		"bearer  " + token:             true,
		basic("anybody", token):        true,
		basic("", token):               true,
		bearer(""):                     false,
		bearer(token + "x"):            false,
		bearer(token[:len(token)-1]):   false,
		bearer(strings.ToUpper(token)): false,
		"Digest " + token:              false,
		token:                          false,
		basic(token, ""):               false,
		basic("anybody", token+"x"):    false,
		"Basic " + token:               false,
		"Basic !":                      false,
		basic("anybody", "") + ", " + bearer(token): false,
	}
	for name, access := range map[string]handlers.Access{
		"open":    {},
		"token":   {Token: token},
		"private": {Token: token, Private: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := openWith(t, databasetest.New(t), access)
			b.recordFirst(bearer(token))
			app := handlers.New(handlers.Config{Client: b.client, Driver: b.driver, Shutdown: t.Context(), Log: slog.New(slog.DiscardHandler)})
			for _, route := range app.Routes() {
				use := routes[route.Method+" "+route.Path]
				if use == 0 {
					t.Errorf("no rule for %s %s", route.Method, route.Path)
					continue
				}
				for authorization, right := range shown {
					want := 0 // passes
					switch needsToken := use == records || use == removes || use == reads && access.Private; {
					case access.Token != "" && needsToken && !right:
						want = http.StatusUnauthorized
					case access.Token == "" && use == removes:
						want = http.StatusForbidden
					}
					b.checkRule(route.Method, route.Path, authorization, want)
				}
			}
			if strings.Contains(b.log.String(), token) {
				t.Errorf("the log has the token:\n%s", b.log)
			}
		})
	}
}

// recordFirst records message 1.
func (b *book) recordFirst(authorization string) {
	b.t.Helper()
	if a := b.send("POST", "/record", "hello", "Authorization", authorization); a.status != http.StatusCreated {
		b.t.Fatal(a)
	}
}

// checkRule sends a request that records if it may, and checks that its status is want or, if that is 0, that it passes.
func (b *book) checkRule(method, path, authorization string, want int) {
	b.t.Helper()
	before := len(b.values())
	path = strings.NewReplacer(":id", "1", ":name", strings.TrimPrefix(static.Path("daybook.css"), "static/")).Replace(path)
	request, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path+"?msg=hello", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close() // of /live without its end
	got := response.StatusCode
	if passes := got != http.StatusUnauthorized && got != http.StatusForbidden; passes != (want == 0) || want != 0 && got != want {
		b.t.Errorf("%s %s with %q: answered %d, want %d", method, path, authorization, got, want)
	}
	recorded := len(b.values()) - before
	if records := got == http.StatusCreated; recorded != map[bool]int{true: 1}[records] || records && want != 0 {
		b.t.Errorf("%s %s with %q: recorded %d, and answered %d", method, path, authorization, recorded, got)
	}
	if want != http.StatusUnauthorized || got != want {
		return // it may be a stream
	}
	body, err := io.ReadAll(response.Body)
	challenges := strings.Join(response.Header.Values("WWW-Authenticate"), ", ")
	if err != nil || challenges != `Basic realm="Daybook", charset="UTF-8", Bearer realm="Daybook"` ||
		method != "HEAD" && !strings.Contains(string(body), "token") || strings.Contains(string(body), token) {
		b.t.Errorf("%s %s with %q: %s, %q, %v", method, path, authorization, challenges, body, err)
	}
}

// TestWhatIsShownDependsOnWhoAsks has a cache between visitors.
func TestWhatIsShownDependsOnWhoAsks(t *testing.T) {
	for _, access := range []handlers.Access{{}, {Token: token}} {
		b := openWith(t, databasetest.New(t), access)
		cache := b.send("GET", "/", "").header.Get("Cache-Control")
		if private := strings.Contains(cache, "private"); private != (access.Token != "") {
			t.Errorf("with the token %q: %s", access.Token, cache)
		}
	}
}

// TestGuessesChangeNothing sends 100,000 wrong tokens.
func TestGuessesChangeNothing(t *testing.T) {
	skipOnPostgreSQL(t)
	const guesses = 100_000
	b := openWith(t, databasetest.New(t), handlers.Access{Token: token})
	b.recordFirst(bearer(token))
	b.log.waitFor(t, 1, "status=201")
	before, begun := b.log.String(), time.Now()
	for n := range guesses {
		request := httptest.NewRequest("POST", b.url+"/record", strings.NewReader("hello"))
		request.Header.Set("Authorization", bearer(fmt.Sprint(token[:len(token)-1], n)))
		answer := httptest.NewRecorder()
		if b.server.Handler.ServeHTTP(answer, request); answer.Code != http.StatusUnauthorized {
			t.Fatalf("answered %d", answer.Code)
		}
	}
	took := time.Since(begun)
	added := strings.TrimPrefix(b.log.String(), before)
	if lines := strings.Count(added, "\n"); lines > int(took.Seconds())+1 || lines == 0 {
		t.Errorf("after %s, the log has %d more lines:\n%s", took, lines, added)
	}
	logged := 0
	for _, match := range regexp.MustCompile(`requests=(\d+) last=192\.0\.2\.1`).FindAllStringSubmatch(added, -1) {
		n, _ := strconv.Atoi(match[1])
		logged += n
	}
	if logged == 0 || logged > guesses {
		t.Errorf("the log speaks of %d requests:\n%s", logged, added)
	}
	b.recorded("hello")
	b.recordFirst(bearer(token))
}
