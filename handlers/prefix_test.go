package handlers_test

import (
	"fmt"
	"html"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"daybook/static"
)

// behind puts the book behind a reverse proxy, which serves it beneath a prefix such as "/tools/daybook" and tells it nothing
// of that: it takes the prefix away, asks for the book by the book's own host, and leaves every answer as it is. It returns
// the address of the book there, without a final slash, as b.url is.
func (b *book) behind(prefix string) string {
	b.t.Helper()
	target, err := url.Parse(b.url)
	if err != nil {
		b.t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), // whoever gets a 502 says so
	}
	host := http.NewServeMux()
	host.Handle(prefix+"/", http.StripPrefix(prefix, proxy))
	return "http://" + serve(b.t, host) + prefix
}

// serve serves something on an address of its own, which it returns, until the test ends.
func serve(t testing.TB, handler http.Handler) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close() // it does not wait for a browser that keeps its connections, or listens to a stream
		<-served
	})
	return listener.Addr().String()
}

// attribute finds what leads from a page to another address.
var attribute = regexp.MustCompile(` (href|src|action)="([^"]*)"`)

// leads returns the absolute addresses of the book to which the answer of a path leads: by links, which can be followed,
// and by forms. Those of the book's own listener are among them, though nobody in front of a proxy can reach it.
func (b *book) leads(path string, a answer) (links, forms []string) {
	b.t.Helper()
	asked, err := url.Parse(b.url + path)
	if err != nil {
		b.t.Fatal(err)
	}
	add := func(to *[]string, reference string) {
		address, err := asked.Parse(reference)
		if err != nil {
			b.t.Errorf("%s has an address that is none: %v", path, err)
			return
		}
		if address.Host == asked.Host || address.Host == b.addr {
			address.Fragment = ""
			*to = append(*to, address.String())
		}
	}
	for _, link := range regexp.MustCompile(`<([^>]*)>`).FindAllStringSubmatch(strings.Join(a.header.Values("Link"), ", "), -1) {
		add(&links, link[1])
	}
	if !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
		return links, nil
	}
	for _, found := range attribute.FindAllStringSubmatch(a.body, -1) {
		if found[1] == "action" {
			add(&forms, html.UnescapeString(found[2]))
		} else {
			add(&links, html.UnescapeString(found[2]))
		}
	}
	return links, forms
}

// TestNoAddressLeavesThePrefix follows every link that there is, from page to page.
func TestNoAddressLeavesThePrefix(t *testing.T) {
	b := open(t)
	b.fill(60) // more than one page
	b.url = b.behind("/tools/daybook")
	var paths []string // where links lead; those before next have been followed
	look := func(path string, a answer) {
		links, forms := b.leads(path, a)
		for _, address := range append(links, forms...) {
			if !strings.HasPrefix(address, b.url+"/") {
				t.Errorf("%s leads to %s", path, address)
			}
		}
		for _, address := range links {
			if to, beneath := strings.CutPrefix(address, b.url); beneath && !slices.Contains(paths, to) {
				paths = append(paths, to)
			}
		}
	}
	for _, page := range []struct { // to which no link leads
		method, path, body string
		status             int
	}{
		{"GET", "/record", "", 200},
		{"GET", "/record?msg=asked", "", 200},
		{"POST", "/record", "msg=", 422},
		{"GET", "/messages/404", "", 404},
		{"GET", "/nothing/here/at/all", "", 404},
		{"GET", "/?limit=0", "", 400},
		{"GET", "/?after=60", "", 200},
		{"GET", "/", "", 200},
	} {
		a := b.send(page.method, page.path, page.body, "Accept", browser, "Content-Type", form)
		if a.status != page.status {
			t.Errorf("%s %s is answered %d, want %d", page.method, page.path, a.status, page.status)
		}
		look(page.path, a)
	}
	for next := 0; next < len(paths); next++ {
		a := b.send("GET", paths[next], "", "Accept", browser)
		if a.status >= 400 {
			t.Errorf("a link leads to %s, which is answered %d", paths[next], a.status)
		}
		look(paths[next], a)
	}
	for _, want := range []string{"/", "/messages/60", "/messages/1", "/?before=11", "/?format=text", "/?before=11&format=json",
		"/" + static.Path("daybook.css"), "/" + static.Path("daybook.js"), "/" + static.Path("icon.svg")} {
		if !slices.Contains(paths, want) {
			t.Errorf("no link led to %s", want)
		}
	}
}

func TestLocationBehindAProxy(t *testing.T) {
	b := open(t)
	b.url = b.behind("/tools/daybook")
	for _, test := range []struct {
		method, path, body, accept string
		status                     int
		want                       string
	}{
		{"POST", "/record", "by curl", "*/*", 201, "/messages/1"},
		{"GET", "/record?msg=by+curl", "", "*/*", 201, "/messages/2"},
		{"POST", "/record", "msg=by+form", browser, 303, "/"},
	} {
		got := b.send(test.method, test.path, test.body, "Accept", test.accept, "Content-Type", form)
		asked, err := url.Parse(b.url + test.path)
		if err != nil {
			t.Fatal(err)
		}
		location, err := asked.Parse(got.header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		if got.status != test.status || location.String() != b.url+test.want {
			t.Errorf("%s %s: %d, Location %s, want %d, %s", test.method, test.path, got.status, location, test.status, b.url+test.want)
			continue
		}
		if there := b.send("GET", test.want, ""); there.status != 200 || !strings.Contains(there.body, "\tby ") {
			t.Errorf("%s is answered %d %s", location, there.status, there.body)
		}
	}
}

// loads notes, from now on, how everything that the tab loads is answered: "200 http://…". It returns what it noted.
func (b tab) loads() func() []string {
	b.t.Helper()
	var mu sync.Mutex
	var loads []string
	if err := chromedp.Listen(b.ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *network.EventResponseReceived:
			loads = append(loads, fmt.Sprintf("%d %s", e.Response.Status, e.Response.URL))
		case *network.EventLoadingFailed:
			if !e.Canceled { // by going elsewhere
				loads = append(loads, fmt.Sprintf("%s (a %s)", e.ErrorText, e.Type))
			}
		}
	}); err != nil {
		b.t.Fatal(err)
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(loads)
	}
}

// at waits for an element that another page does not have, and checks where the tab is by then.
func (b tab) at(address string, selector chromedp.CSS) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(selector))
	if got := get(b, chromedp.Location()); got != address {
		b.t.Errorf("the browser is at %s, want %s", got, address)
	}
}

func TestBrowserBehindAProxy(t *testing.T) {
	b, tab := browse(t)
	b.fill(60)
	b.url = b.behind("/tools/daybook")
	loads := tab.loads()
	tab.do(chromedp.Navigate(b.url + "/"))

	// The script is there: the keys record.
	tab.do(chromedp.SendKeys(area, "behind a proxy"), chromedp.KeyEvent(kb.Enter, chromedp.KeyModifiers(kb.ModifierCtrl)))
	tab.at(b.url+"/", `.entry:first-child .when[href$="/61"]`)
	if got := tab.text(first); got != "behind a proxy" {
		t.Errorf("the page shows %q", got)
	}
	// So is the style sheet.
	if got := get(tab, chromedp.Evaluate[string](`getComputedStyle(document.querySelector(".entry")).display`)); got != "grid" {
		t.Errorf("an entry is displayed as %s", got)
	}
	tab.do(chromedp.SendKeys(area, "by the button"), chromedp.Click(button))
	tab.at(b.url+"/", `.entry:first-child .when[href$="/62"]`)

	for _, step := range []struct {
		click   chromedp.CSS
		path    string
		element chromedp.CSS // that is there then, and was not before
	}{
		{`.when[href$="/62"]`, "/messages/62", ".message"},
		{`a[rel="next"]`, "/messages/61", `a[rel="prev"]`},
		{`a[rel="prev"]`, "/messages/62", `.pages :only-child`},
		{`.back a`, "/", `.entries`},
		{`a[rel="next"]`, "/?before=13", `a[rel="prev"]`},
		{`a[rel="prev"]`, "/", `form.record`},
		{`.masthead a`, "/", `.forms a[href="?format=text"]`},
		{`.forms a[href*="text"]`, "/?format=text", `pre`}, // in which Chromium shows text
	} {
		tab.do(chromedp.Click(step.click))
		tab.at(b.url+step.path, step.element)
	}
	if got := tab.text("pre"); !strings.HasSuffix(got, "\tby the button\n") {
		t.Errorf("as text it shows %q", got)
	}
	tab.do(chromedp.Navigate(b.url+"/messages/404"), chromedp.Click(chromedp.CSS(".back a")))
	tab.at(b.url+"/", ".entries")
	tab.do(chromedp.SetValue(area, strings.Repeat("x", maxMessage+1)), chromedp.Click(button))
	tab.at(b.url+"/", "[role=alert]")
	tab.do(chromedp.SetValue(area, "short"), chromedp.Click(button))
	tab.at(b.url+"/", `.when[href$="/63"]`)

	got := loads()
	for _, file := range []string{"daybook.css", "daybook.js"} {
		if want := "200 " + b.url + "/" + static.Path(file); !slices.Contains(got, want) {
			t.Errorf("it was not loaded: %s", want)
		}
	}
	got = slices.DeleteFunc(got, func(load string) bool {
		return strings.HasPrefix(load, "200 "+b.url+"/") || load == "201 "+b.url+"/record" ||
			strings.HasPrefix(load, "200 data:") || // the browser's own icon of the date field
			strings.HasSuffix(load, "/favicon.ico") // the text's, by habit
	})
	if want := []string{"404 " + b.url + "/messages/404", "413 " + b.url + "/record"}; !slices.Equal(got, want) {
		t.Errorf("it loaded in vain\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
