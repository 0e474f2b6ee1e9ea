package handlers_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"daybook/database/databasetest"
)

// is reports what an expression of JavaScript is.
func (b tab) is(expression string) bool {
	b.t.Helper()
	return get(b, chromedp.Evaluate[bool]("Boolean("+expression+")"))
}

// until waits until the expression is true.
func (b tab) until(expression string) {
	b.t.Helper()
	for limit := time.Now().Add(10 * time.Second); !b.is(expression); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			b.t.Fatalf("it does not come true: %s\n%s", expression, get(b, chromedp.Evaluate[string]("document.body.innerText")))
		}
	}
}

// TestTwoBrowsers has one record, and the other one see it.
func TestTwoBrowsers(t *testing.T) {
	b, writer, reader := open(t), openTabOnBoth(t), openTabOnBoth(t)
	writer.do(chromedp.Navigate(b.url))
	reader.do(chromedp.Navigate(b.url))
	for _, message := range []string{"first", "two\nlines"} {
		writer.do(chromedp.SendKeys(area, message), chromedp.Click(button), chromedp.WaitVisible(first))
		for _, tab := range []tab{writer, reader} {
			tab.until(fmt.Sprintf(`document.querySelector(".entry .value")?.textContent === %q`, message))
		}
	}
	for _, tab := range []tab{writer, reader} {
		if !tab.is(`document.querySelectorAll(".day").length === 1 && document.querySelectorAll(".entry").length === 2 && !document.querySelector(".empty")`) {
			t.Error("the messages are not under one day, each once")
		}
	}
}

// TestBrowserRecordsWithoutReload looks at what has the focus, what the form holds, and whether the page is the same one.
func TestBrowserRecordsWithoutReload(t *testing.T) {
	b, tab := browse(t)
	tab.do(chromedp.Navigate(b.url), chromedp.Evaluate[chromedp.Void](`window.same = true`))
	tab.tabTo("textarea")
	for _, message := range []string{"one", "two"} {
		tab.press(message)
		tab.press(kb.Enter, kb.ModifierCtrl)
		tab.until(fmt.Sprintf(`document.querySelector(".entry .value")?.textContent === %q`, message))
		tab.until(`document.querySelector("textarea").value === ""`)
		if !tab.is(`document.activeElement.name === "msg"`) {
			t.Error("the focus is elsewhere")
		}
	}
	tab.press(strings.Repeat("x", maxMessage+1))
	tab.press(kb.Enter, kb.ModifierCtrl)
	tab.until(`document.querySelector("form [role=alert]")?.textContent.includes("more than the 1000")`)
	tab.until(`document.querySelector("textarea").value.length === 1001 && document.querySelector("textarea").getAttribute("aria-describedby") === "problem"`)
	tab.do(chromedp.SetValue(area, "three"))
	tab.press("\t")
	tab.press(" ") // the button
	tab.until(`document.querySelector(".entry .value").textContent === "three" && !document.querySelector("[role=alert]")`)
	if !tab.is(`window.same && document.activeElement.name === "msg"`) {
		t.Error("the page was loaded again, or the focus is elsewhere")
	}
	if got := strings.Join(b.values(), " "); got != "one two three" {
		t.Errorf("the book holds %s", got)
	}
}

// TestBrowserKeepsTheMessageWhenTheServerIsAway records while there is no answer, and again when there is.
func TestBrowserKeepsTheMessageWhenTheServerIsAway(t *testing.T) {
	b, tab := browse(t)
	var away atomic.Bool
	behind, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(behind)
	front := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	tab.do(chromedp.Navigate("http://" + front))
	away.Store(true)
	tab.do(chromedp.SendKeys(area, "kept"), chromedp.Click(button))
	tab.until(`document.querySelector("[role=alert]")?.textContent.includes("cannot be reached")`)
	if got := get(tab, chromedp.Value(area)); got != "kept" {
		t.Errorf("the form holds %q", got)
	}
	away.Store(false)
	tab.do(chromedp.Click(button))
	tab.until(`document.querySelector(".entry .value")?.textContent === "kept" && !document.querySelector("[role=alert]")`)
}

// front serves the book through a proxy that does something before it passes a request on, or answers itself.
func (b *book) front(before http.HandlerFunc) string {
	b.t.Helper()
	behind, err := url.Parse(b.url)
	if err != nil {
		b.t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(behind)
	return "http://" + serve(b.t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &answered{ResponseWriter: w}
		if before(answer, r); !answer.written {
			proxy.ServeHTTP(w, r)
		}
	}))
}

// answered knows whether something has been answered.
type answered struct {
	http.ResponseWriter
	written bool
}

func (a *answered) WriteHeader(status int) {
	a.written = true
	a.ResponseWriter.WriteHeader(status)
}

func (a *answered) Write(content []byte) (int, error) {
	a.written = true
	return a.ResponseWriter.Write(content)
}

// TestBrowserKeepsWhatIsTypedMeanwhile goes on typing while a message is under way.
func TestBrowserKeepsWhatIsTypedMeanwhile(t *testing.T) {
	b, tab := browse(t)
	typed := make(chan struct{})
	tab.do(chromedp.Navigate(b.front(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			<-typed
		}
	})))
	tab.tabTo(area)
	tab.press("first")
	tab.press(kb.Enter, kb.ModifierCtrl)
	tab.press("seco")
	close(typed)
	tab.until(`document.querySelector(".entry .value")?.textContent === "first"`)
	tab.press("nd")
	tab.until(`document.querySelector("textarea").value === "second"`)
	tab.press(kb.Enter, kb.ModifierCtrl)
	tab.until(`document.querySelector(".entry .value").textContent === "second"`)
	if got := strings.Join(b.values(), " "); got != "first second" {
		t.Errorf("the book holds %s", got)
	}
}

// TestBrowserKeepsTheMessageThatAnotherPageAnswers has a proxy that wants its visitors to log in: it answers with a page, or
// leads to one, or, as it knows them elsewhere already, back to the book.
func TestBrowserKeepsTheMessageThatAnotherPageAnswers(t *testing.T) {
	login := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<h1>Log in</h1>")
	}
	for _, location := range []string{"", "/login", "/", "/record"} {
		t.Run("leads to "+location, func(t *testing.T) {
			b, tab := browse(t)
			var known atomic.Bool
			tab.do(chromedp.Navigate(b.front(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/login", r.Method == "POST" && location == "" && !known.Load():
					login(w)
				case r.Method == "POST" && !known.Load():
					http.Redirect(w, r, location, http.StatusFound)
				}
			})))
			tab.do(chromedp.SendKeys(area, "kept"), chromedp.Click(button))
			tab.until(`document.querySelector("[role=alert]") && document.querySelector("textarea").value === "kept"`)
			if got := tab.text("[role=alert]"); location != "/record" && got != "It was not recorded." {
				t.Errorf("the page says %q", got)
			}
			known.Store(true)
			tab.do(chromedp.Click(button))
			tab.until(`document.querySelector(".entry .value")?.textContent === "kept" && !document.querySelector("[role=alert]")`)
			b.holds("kept")
		})
	}
}

// holds looks whether these messages are recorded, each once and with a key of its own.
func (b *book) holds(want ...string) {
	b.t.Helper()
	if got := b.values(); !slices.Equal(got, want) {
		b.t.Errorf("the book holds %q, want %q", got, want)
	}
	if keys := b.number("SELECT count(DISTINCT idempotency_key) FROM messages"); keys != len(want) {
		b.t.Errorf("%d messages have %d keys", len(want), keys)
	}
}

// TestBrowserRecordsWhileTheListIsAway records while the list, to which a page is redirected, is not to be had.
func TestBrowserRecordsWhileTheListIsAway(t *testing.T) {
	for name, list := range map[string]http.HandlerFunc{
		"busy": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "The database is busy.", http.StatusServiceUnavailable)
		},
		"broken": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"slow":   func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			b, tab := browse(t)
			var away atomic.Bool
			tab.do(chromedp.Navigate(b.front(func(w http.ResponseWriter, r *http.Request) {
				if away.Load() && r.URL.Path == "/" {
					list(w, r)
				}
			})))
			b.came.waitFor(t, 1, "/live?after=0")
			away.Store(true)
			tab.tabTo(area)
			for _, message := range []string{"first", "second"} {
				tab.press(message)
				tab.press(kb.Enter, kb.ModifierCtrl)
				tab.until(`document.querySelector("textarea").value === ""`)
				tab.until(fmt.Sprintf(`document.querySelector(".entry .value")?.textContent === %q`, message)) // by the stream
				if !tab.is(`!document.querySelector("[role=alert]") && !document.querySelector("[aria-invalid]") && document.activeElement.name === "msg"`) {
					t.Error("there is a problem, or the focus is elsewhere")
				}
			}
			away.Store(false)
			tab.press("third")
			tab.press(kb.Enter, kb.ModifierCtrl)
			tab.until(`document.querySelectorAll(".entry").length === 3 && document.querySelector("textarea").value === ""`)
			tab.until(`document.querySelector(".news").textContent === ""`)
			b.holds("first", "second", "third")
		})
	}
}

// TestBrowserSaysWhatIsRecordedButNotShown has no list for a while, and never a stream: a proxy waits for its end.
func TestBrowserSaysWhatIsRecordedButNotShown(t *testing.T) {
	b, tab := browse(t)
	var away atomic.Bool
	tab.do(chromedp.Navigate(b.front(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/live":
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		case r.URL.Path == "/" && away.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})))
	away.Store(true)
	tab.tabTo(area)
	for _, message := range []string{"first", "second"} {
		tab.press(message)
		tab.press(kb.Enter, kb.ModifierCtrl)
		tab.until(`document.querySelector("textarea").value === "" && document.querySelector(".news[role=status]").textContent.includes("is recorded")`)
		if !tab.is(`!document.querySelector("[role=alert]") && document.activeElement.name === "msg"`) {
			t.Error("there is a problem, or the focus is elsewhere")
		}
	}
	away.Store(false)
	tab.press("third")
	tab.press(kb.Enter, kb.ModifierCtrl)
	tab.until(`[...document.querySelectorAll(".entry .value")].map(value => value.textContent).join(" ") === "third second first"`)
	tab.until(`document.querySelector("textarea").value === "" && document.querySelector(".news").textContent === ""`)
	b.holds("first", "second", "third")
}

// TestBrowserKeepsTheMessageThatABusyBookRefuses has another process hold the lock.
func TestBrowserKeepsTheMessageThatABusyBookRefuses(t *testing.T) {
	b, tab := openImpatient(t), openTabOnBoth(t)
	tab.do(chromedp.Navigate(b.url))
	unlock := b.lock()
	tab.do(chromedp.SendKeys(area, "kept"), chromedp.Click(button))
	tab.until(`document.querySelector("form [role=alert]")?.textContent.includes("busy")`)
	if !tab.is(`document.querySelector("textarea").value === "kept" && document.activeElement.name === "msg" && !document.querySelector(".entry")`) {
		t.Error("the message or the focus is lost")
	}
	unlock()
	tab.do(chromedp.Click(button))
	tab.until(`document.querySelector(".entry .value")?.textContent === "kept" && !document.querySelector("[role=alert]")`)
	b.holds("kept")
}

// TestBrowserKeepsWhatCannotBeRecorded mends a message that may not be as it is.
func TestBrowserKeepsWhatCannotBeRecorded(t *testing.T) {
	b, tab := browse(t)
	tab.do(chromedp.Navigate(b.url))
	for refused, problem := range map[string]string{
		"with NUL\x00":                       "contains a NUL character", // 422
		strings.Repeat("x", maxMessage+1):    "more than the 1000",       // 413
		strings.Repeat("x", 6*maxMessage<<4): "larger than any message",  // before it is read
	} {
		tab.do(chromedp.SetValue(area, refused), chromedp.Click(button))
		tab.until(fmt.Sprintf(`document.querySelector("form [role=alert]")?.textContent.includes(%q)`, problem))
		if got := get(tab, chromedp.Value(area)); got != refused {
			t.Errorf("the form holds %d bytes of %d", len(got), len(refused))
		}
		if !tab.is(`document.activeElement.name === "msg" && document.querySelectorAll("[role=alert]").length === 1`) {
			t.Error("the focus is elsewhere, or there are several problems")
		}
	}
	tab.do(chromedp.SetValue(area, "mended"), chromedp.Click(button))
	tab.until(`document.querySelector(".entry .value")?.textContent === "mended" && !document.querySelector("[role=alert]")`)
	b.holds("mended")
}

// TestBrowserRecordsOnceWhatWasNotAnswered loses the answers to what is recorded. Sent again, a message is there once; changed, it
// has to be meant.
func TestBrowserRecordsOnceWhatWasNotAnswered(t *testing.T) {
	b, tab := open(t), openTabOnBoth(t)
	var lose atomic.Bool
	tab.do(chromedp.Navigate(b.front(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method != "POST" || !lose.Load() {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		b.send("POST", "/record", string(body), "Content-Type", r.Header.Get("Content-Type"), "Accept", r.Header.Get("Accept"))
		panic(http.ErrAbortHandler)
	})))
	for _, message := range []string{"same", "other"} {
		lose.Store(true)
		tab.do(chromedp.SetValue(area, message), chromedp.Click(button))
		tab.until(`document.querySelector("[role=alert]")?.textContent.includes("cannot be reached")`)
		lose.Store(false)
		if message == "other" {
			tab.do(chromedp.SetValue(area, "changed"), chromedp.Click(button))
			tab.until(`document.querySelector("[role=alert]")?.textContent.includes("same key") && document.querySelector("textarea").value === "changed"`)
		}
		tab.do(chromedp.Click(button))
		tab.until(`document.querySelector("textarea").value === "" && !document.querySelector("[role=alert]")`)
	}
	tab.until(`[...document.querySelectorAll(".entry .value")].map(value => value.textContent).join(" ") === "changed other same"`)
	b.holds("same", "other", "changed")
}

// TestPageOutlivesTheServer has a page open while the server stops, is away, and comes back.
func TestPageOutlivesTheServer(t *testing.T) {
	database := databasetest.New(t)
	b, next, tab := openAt(t, database), openAt(t, database), openTabOnBoth(t)
	var server atomic.Pointer[httputil.ReverseProxy] // none while it is away
	pass := func(b *book) {
		server.Store(&httputil.ReverseProxy{
			Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: b.addr}) },
			ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
		})
	}
	pass(b)
	front := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxy := server.Load()
		if proxy == nil {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	tab.do(chromedp.Navigate("http://" + front))
	b.came.waitFor(t, 1, "/live?after=0")
	server.Store(nil)
	if err := b.server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	next.record("meanwhile")
	tab.hide(true)
	tab.hide(false) // it tries to come back at once
	tab.do(chromedp.Evaluate[chromedp.Void](`fetch("./").catch(() => 0)`, chromedp.EvalAwaitPromise))
	pass(next)
	tab.until(`document.querySelector(".entry .value")?.textContent === "meanwhile"`)
	next.record("and more")
	tab.until(`document.querySelector(".entry .value").textContent === "and more" && document.querySelectorAll(".entry").length === 2`)
}

// TestPageListensAgainAfterAnError has a proxy that refuses the first stream, after which a browser does not try again by itself.
func TestPageListensAgainAfterAnError(t *testing.T) {
	b, tab := browse(t)
	behind, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(behind)
	var refused atomic.Bool
	front := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/live" && refused.CompareAndSwap(false, true) {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	tab.do(chromedp.Navigate("http://" + front))
	b.came.waitFor(t, 1, "/live?after=0")
	b.record("hello")
	tab.until(`document.querySelector(".entry .value")?.textContent === "hello"`)
}

// TestPageTakesManyMessages has thousands recorded while the page is open.
func TestPageTakesManyMessages(t *testing.T) {
	b, tab := open(t), openTabOnBoth(t)
	tab.do(chromedp.Navigate(b.url))
	b.came.waitFor(t, 1, "/live?after=0")
	b.fill(5000)
	tab.until(`document.querySelector(".entry .value")?.textContent === "message 5000"`)
	tab.until(`document.querySelectorAll(".entry").length <= 1000`) // there are pages for the rest
	if !tab.is(`[...document.querySelectorAll(".entry")].every(({id}, i) => id === "message-" + (5000 - i)) && document.querySelector("[rel=next]")`) {
		t.Error("the messages are not there in order, each once")
	}
}

// TestReaderIsNotMoved reads further down while others record.
func TestReaderIsNotMoved(t *testing.T) {
	b, tab := browse(t)
	b.fill(60)
	tab.do(chromedp.EmulateViewport(800, 600), chromedp.Navigate(b.url), chromedp.Evaluate[chromedp.Void](`scrollTo(0, 1000)`))
	place := func() float64 {
		return get(tab, chromedp.Evaluate[float64](`document.getElementById("message-30").getBoundingClientRect().top`))
	}
	tab.until(`scrollY === 1000`)
	before := place()
	b.record("a")
	tab.until(`document.querySelector(".news")?.textContent === "1 new message"`)
	b.record("b")
	b.record("c")
	tab.until(`document.querySelector(".news").textContent === "3 new messages"`)
	if after := place(); after != before || !tab.is(`!document.getElementById("message-61")`) {
		t.Errorf("what is being read has moved from %g to %g", before, after)
	}
	tab.do(chromedp.Click(chromedp.CSS(".news button")))
	tab.until(`scrollY === 0 && document.querySelector(".entry .value").textContent === "c" && document.querySelectorAll(".entry").length === 53`)
	tab.until(`document.querySelector(".news").textContent === ""`)
	tab.do(chromedp.Evaluate[chromedp.Void](`scrollTo(0, 1000)`))
	tab.until(`scrollY === 1000`)
	b.record("d")
	tab.until(`document.querySelector(".news").textContent === "1 new message"`)
	tab.do(chromedp.Evaluate[chromedp.Void](`scrollTo(0, 0)`)) // by oneself
	tab.until(`document.querySelector(".entry .value").textContent === "d" && document.querySelector(".news").textContent === ""`)
}

// TestHiddenTabCatchesUp hides a tab, records a few messages or more than a page shows, and shows it again.
func TestHiddenTabCatchesUp(t *testing.T) {
	b, tab := open(t), openTabOnBoth(t)
	b.fill(10)
	tab.do(chromedp.Navigate(b.url))
	tab.until(`document.querySelectorAll(".entry").length === 10`)
	b.came.waitFor(t, 1, "/live?after=10")
	for i, missed := range []int{3, 200} {
		tab.hide(true)
		b.fill(missed)
		last := fmt.Sprint("the last one of ", missed)
		b.record(last)
		tab.hide(false)
		tab.until(fmt.Sprintf(`document.querySelector(".entry .value").textContent === %q`, last))
		b.came.waitFor(t, i+2, "/live?after=") // it has listened anew
	}
	if !tab.is(`document.querySelectorAll(".entry").length === 50 && document.querySelector(".pages a[rel=next]").getAttribute("href") === "?before=166"`) {
		t.Error("after more than a page, it is not the newest page")
	}
	b.record("and more")
	tab.until(`document.querySelector(".entry .value").textContent === "and more" && document.querySelectorAll(".entry").length === 51`)
}

// hide makes the page believe that its tab is hidden, or shown.
func (b tab) hide(hidden bool) {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`
		Object.defineProperty(document, "hidden", {value: %v, configurable: true});
		document.dispatchEvent(new Event("visibilitychange"))`, hidden)))
}

// TestButtonPressedTwice records once.
func TestButtonPressedTwice(t *testing.T) {
	b, tab := open(t), openTabOnBoth(t)
	press := chromedp.Evaluate[chromedp.Void](`for (let i = 0; i < 3; i++) document.querySelector("form.record button").click()`)
	tab.do(chromedp.Navigate(b.url), chromedp.SendKeys(area, "once"), press, chromedp.WaitVisible(first))
	tab.do( // and without scripts, where the browser sends the form each time
		command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}),
		chromedp.Navigate(b.url+"/record"), chromedp.SendKeys(area, "twice"),
		chromedp.DoubleClick(button), chromedp.WaitVisible(first),
	)
	if got := strings.Join(b.values(), " "); got != "once twice" {
		t.Errorf("the book holds %q", got)
	}
}

// TestLiveBehindAProxy records and listens behind a reverse proxy, which serves the book under a prefix.
func TestLiveBehindAProxy(t *testing.T) {
	b, tab := browse(t)
	b.url = b.behind("/tools/daybook")
	text := b.follow("")
	tab.do(chromedp.Navigate(b.url + "/"))
	if got := tab.text(".empty code"); got != "curl -d 'hello world' "+strings.TrimPrefix(b.url, "http://")+"/record" {
		t.Errorf("the empty book says %q", got)
	}
	b.record("hello")
	if line := text.line(); !strings.HasSuffix(line, "\thello") {
		t.Errorf("%q", line)
	}
	tab.until(`document.querySelector(".entry .when")?.href === ` + fmt.Sprintf("%q", b.url+"/messages/1"))
	if got := b.send("GET", "/feed", ""); got.status != 200 {
		t.Errorf("the feed is answered %d", got.status)
	}
}
