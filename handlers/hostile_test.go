package handlers_test

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	browserpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"daybook/database/databasetest"
	"daybook/handlers"
)

// hostile is a page that tries to read and to change a book of another origin.
//
//go:embed testdata/hostile.html
var hostile string

// secret is a message that no hostile page may learn.
const secret = "the key is below the mat"

// everyNameIsHere has every name lead to this machine.
var everyNameIsHere = chromedp.Flag("host-resolver-rules", "MAP * 127.0.0.1")

// watched serves the book through a proxy that notes each request: its method, its address, and whether the browser sends
// credentials. If the visitor is logged in, the proxy adds them to attacks: Chromium keeps them apart by site, but not every browser
// does.
func (b *book) watched(loggedIn bool) (address string, requests *log) {
	b.t.Helper()
	requests = &log{}
	return b.front(func(_ http.ResponseWriter, r *http.Request) {
		_, _, found := r.BasicAuth()
		fmt.Fprintln(requests, r.Method, r.RequestURI, found)
		if loggedIn && strings.Contains(r.RequestURI, "attack=") {
			r.SetBasicAuth("visitor", token)
		}
	}), requests
}

// under returns an address with another host name, and the same port.
func under(name, address string) string { return strings.Replace(address, "127.0.0.1", name, 1) }

// stopped are the attacks that the browser does not let out.
var stopped = regexp.MustCompile(`^(fetch-(same-origin|navigate|no-cors-(PUT|DELETE))|speculation)-`)

// TestAnotherSiteNeitherReadsNorChanges opens a hostile page in a browser, which may be logged in.
//
// Only to an address that is potentially trustworthy does a browser say where a request comes from (Sec-Fetch). The fewer rules a book
// has, or the more a browser can do, the more pairs of sites are tried.
func TestAnotherSiteNeitherReadsNorChanges(t *testing.T) {
	skipOnPostgreSQL(t)
	t.Parallel()
	browser := launch(t, everyNameIsHere)
	for _, rules := range []struct {
		name   string
		access handlers.Access
		logIn  bool
		pairs  int
	}{
		{"open", handlers.Access{}, false, 4},
		{"with a token", handlers.Access{Token: token}, false, 1},
		{"with a token, logged in", handlers.Access{Token: token}, true, 2},
		{"private", handlers.Access{Token: token, Private: true}, false, 1},
		{"private, logged in", handlers.Access{Token: token, Private: true}, true, 4},
	} {
		for _, from := range []struct{ book, site, policy string }{
			{"book.example", "at.book.example", "strict-origin-when-cross-origin"},
			{"localhost", "localhost", "strict-origin-when-cross-origin"}, // it says so: of the same site
			{"book.example", "evil.example", "no-referrer"},
			{"127.0.0.1", "localhost", "no-referrer"}, // it says so: of another site
		}[:rules.pairs] {
			t.Run(rules.name+"/"+from.book+" from "+from.site, func(t *testing.T) {
				t.Parallel()
				access := rules.access
				access.Hosts = []string{"book.example"}
				b, tab := openWith(t, databasetest.New(t), access), openTabIn(t, browser)
				b.client.Message.Create().SetValue(secret).ExecX(t.Context())
				address, requests := b.watched(rules.logIn)
				address = under(from.book, address)
				if rules.logIn {
					tab.logIn(address, requests)
				} else {
					tab.answerPrompts("") // it prompts for what a page of the same site loads
				}
				site := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "text/html")
					w.Header().Set("Referrer-Policy", from.policy)
					fmt.Fprint(w, hostile)
				}))
				tab.do(chromedp.Navigate(under(from.site, "http://"+site) + "/?book=" + url.QueryEscape(address)))
				for _, name := range get(tab, chromedp.Evaluate[[]string]("names")) {
					if !stopped.MatchString(name) {
						requests.waitFor(t, 1, "attack="+name+" ")
					}
				}
				if learned := get(tab, chromedp.Evaluate[[]string]("report()", chromedp.EvalAwaitPromise)); len(learned) > 0 {
					t.Errorf("the page has learned %q", learned)
				}
				tab.framesNothingOf(address)
				if rules.logIn {
					requests.waitFor(t, 1, "attack=tab-post-text-plain true")
				}
				if rules.logIn || rules.name == "open" {
					tab.run("location = book + '/record?msg=followed'")
					tab.at(address+"/record?msg=followed", area)
				}
				if err := b.server.Shutdown(tab.ctx); err != nil { // when all is answered
					t.Fatal(err)
				}
				b.recorded(secret)
			})
		}
	}
}

// framesNothingOf checks that no frame of the tab's page shows an answer of the book.
func (b tab) framesNothingOf(address string) {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		tree, err := cdp.Call(ctx, t, browserpage.GetFrameTree, cdp.Empty{})
		if err != nil {
			return err
		}
		for _, child := range tree.FrameTree.ChildFrames {
			if strings.HasPrefix(child.Frame.URL, address) {
				b.t.Errorf("a frame shows %s", child.Frame.URL)
			}
		}
		return nil
	}))
}

// logIn logs the visitor in by Basic authentication, so that the browser sends credentials by itself.
func (b tab) logIn(address string, requests *log) {
	b.t.Helper()
	b.do(chromedp.Navigate(strings.Replace(address, "://", "://visitor:"+token+"@", 1)+"/record"), chromedp.WaitVisible(area))
	b.do(chromedp.Navigate(address + "/?by=itself"))
	requests.waitFor(b.t, 1, "GET /?by=itself true")
}

// TestReboundNameReadsNothing has a page's own name lead to the book: for the browser, the book is of its origin then.
func TestReboundNameReadsNothing(t *testing.T) {
	skipOnPostgreSQL(t)
	browser := launch(t, everyNameIsHere)
	for _, test := range []struct {
		hosts []string
		want  string // what it reads, and what recording is answered
	}{
		{nil, "421 false 421"},
		{[]string{"rebound.example"}, "200 true 201"}, // as the operator wants
	} {
		b, tab := openWith(t, databasetest.New(t), handlers.Access{Hosts: test.hosts}), openTabIn(t, browser)
		b.client.Message.Create().SetValue(secret).ExecX(t.Context())
		var rebound atomic.Bool
		tab.do(chromedp.Navigate(under("rebound.example", b.front(func(w http.ResponseWriter, _ *http.Request) {
			if !rebound.Load() {
				w.Header().Set("Content-Type", "text/html")
				fmt.Fprint(w, "<title>Win a prize</title>")
			}
		}))))
		rebound.Store(true)
		got := get(tab, chromedp.Evaluate[string](`(async () => {
			const read = await fetch("/?format=text"), text = await read.text();
			const recorded = await fetch("/record", {method: "POST", body: "rebound", headers: {Accept: "text/plain"}});
			return [read.status, text.includes("`+secret+`"), recorded.status].join(" ");
		})()`, chromedp.EvalAwaitPromise))
		if n := len(b.values()); got != test.want || (n == 2) != (test.hosts != nil) {
			t.Errorf("with --host=%q: %s, want %s, and the book holds %d messages", test.hosts, got, test.want, n)
		}
	}
}

// recorded checks which messages there are.
func (b *book) recorded(want ...string) {
	b.t.Helper()
	if got := b.values(); !slices.Equal(got, want) {
		b.t.Errorf("the book holds %q, want %q", got, want)
	}
}
