package handlers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	browserpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// run runs JavaScript.
func (b tab) run(script string) {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](script))
}

// TestDraftOutlivesAReload reloads the list and the page that asks to confirm, before and after the message is recorded.
func TestDraftOutlivesAReload(t *testing.T) {
	b, tab := browse(t)
	for _, path := range []string{"/", "/record", "/record?msg=linked"} {
		tab.do(chromedp.Navigate(b.url + path))
		key := get(tab, chromedp.Evaluate[string](`document.querySelector("[name=key]").value`))
		if !tab.is(`!document.querySelector("textarea").hasAttribute("autocomplete") && document.querySelector("[name=key]").getAttribute("autocomplete") === "off"`) {
			t.Errorf("%s: Firefox would restore the key, which may be used, or not the draft", path)
		}
		tab.tabTo(area)
		tab.press("a", kb.ModifierCtrl)
		tab.press("draft")
		tab.do(chromedp.Reload())
		tab.until(`document.querySelector("textarea").value === "draft"`)
		if tab.is(fmt.Sprintf(`document.querySelector("[name=key]").value === %q`, key)) {
			t.Errorf("%s: the form has the key of the page before", path)
		}
		tab.do(chromedp.Click(button))
		tab.until(`location.pathname === "/" && document.querySelector(".entry .value")?.textContent === "draft" && document.querySelector("textarea").value === ""`)
		tab.do(chromedp.Reload())
		tab.until(`document.querySelector(".entry")`)
		if got := get(tab, chromedp.Value(area)); got != "" {
			t.Errorf("%s: recorded and reloaded, the form holds %q", path, got)
		}
		tab.do(chromedp.Navigate(b.url + path))
		if _, want, _ := strings.Cut(path, "msg="); !tab.is(fmt.Sprintf(`document.querySelector("textarea").value === %q`, want)) {
			t.Errorf("%s: recorded and opened again, the form holds %q", path, get(tab, chromedp.Value(area)))
		}
	}
	b.holds("draft", "draft", "draft")
}

// TestSearchFieldHasRoom looks where the field is on a narrow phone and on a wide screen.
func TestSearchFieldHasRoom(t *testing.T) {
	b, tab := browse(t)
	for width, below := range map[int64]bool{320: true, 1280: false} {
		tab.do(chromedp.EmulateViewport(width, 600), chromedp.Navigate(b.url))
		if !tab.is(fmt.Sprintf(`(() => {
			const field = document.querySelector(".search input").getBoundingClientRect(), name = document.querySelector(".name").getBoundingClientRect();
			return field.width > 200 && (field.top >= name.bottom) === %v;
		})()`, below)) {
			t.Errorf("at %d pixels the search field is elsewhere, or narrow", width)
		}
	}
}

// TestDayStaysInSight scrolls through a day.
func TestDayStaysInSight(t *testing.T) {
	b, tab := browse(t)
	b.fill(60)
	b.exec("UPDATE messages SET recorded_at = '2026-11-19 07:05:09+00:00' WHERE id < 31")
	tab.do(chromedp.EmulateViewport(800, 600), chromedp.Navigate(b.url))
	for i, id := range []int{45, 20} {
		tab.run(fmt.Sprintf(`location.hash = "message-%d"`, id))
		tab.until(fmt.Sprintf(`(() => {
			const head = document.querySelectorAll(".day > h2")[%d], box = head.getBoundingClientRect();
			const entry = document.getElementById("message-%d").getBoundingClientRect();
			return scrollY > 0 && box.top === 0 && head.contains(document.elementFromPoint(innerWidth / 2, 10)) && entry.top >= box.bottom && entry.top < innerHeight / 2;
		})()`, i, id))
	}
	if tab.is(`getComputedStyle(document.querySelector(".day > h2")).backgroundColor === "rgba(0, 0, 0, 0)"`) {
		t.Error("one can see the messages through the day")
	}
	tab.do(command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"}))
	if !tab.is(`getComputedStyle(document.querySelector(".day > h2")).position === "static"`) {
		t.Error("the day is sticky on paper")
	}
}

// slash presses the key as a keyboard does, where what a page prevents is not typed. For press, one is not the other's cause.
func slash(modifier kb.Modifier) chromedp.Action[chromedp.Void] {
	return command(input.DispatchKeyEvent, input.DispatchKeyEventParams{
		Type: input.DispatchKeyEventTypeKeyDown, Key: "/", Code: "Slash", Text: "/", Modifiers: int64(modifier),
	})
}

func TestSlashLeadsToTheSearch(t *testing.T) {
	b, tab := browse(t)
	for _, path := range []string{"/", "/record", "/messages/404", "/?q=words"} {
		tab.do(chromedp.Navigate(b.url + path))
		tab.do(slash(kb.ModifierAlt))
		if tab.is(`document.activeElement.name === "q"`) {
			t.Errorf("%s: the slash with Alt leads to the search", path)
		}
		tab.do(slash(kb.ModifierNone))
		tab.press("a/b")
		if !tab.is(`document.activeElement.name === "q" && document.activeElement.value === "a/b"`) {
			t.Errorf("%s: the focus is at %s with %q", path, get(tab, chromedp.Evaluate[focused](focus)).Element, get(tab, chromedp.Evaluate[string](`document.activeElement.value`)))
		}
	}
	tab.do(chromedp.Navigate(b.url))
	tab.tabTo(area)
	tab.press("a/b")
	if got := get(tab, chromedp.Value(area)); got != "a/b" {
		t.Errorf("typed a slash, the form holds %q", got)
	}
}

// TestFocusReturnsWhereThereIsAMouse records by the button. On a phone, the focus would open the keyboard.
func TestFocusReturnsWhereThereIsAMouse(t *testing.T) {
	b, tab := browse(t)
	for _, test := range []struct{ before, focused string }{
		{``, "TEXTAREA"},
		{`window.matchMedia = () => ({matches: false})`, "BUTTON"},
		{`document.querySelector("form.record").addEventListener("submit", () => document.querySelector(".search input").focus())`, "INPUT"},
	} {
		tab.do(chromedp.Navigate(b.url), chromedp.SendKeys(area, "message"))
		tab.run(test.before)
		tab.do(chromedp.Click(button))
		tab.until(`document.querySelector("textarea").value === ""`)
		if !tab.is(fmt.Sprintf(`document.activeElement.tagName === %q`, test.focused)) {
			t.Errorf("%q: the focus is at %s", test.before, get(tab, chromedp.Evaluate[focused](focus)).Element)
		}
	}
}

// TestMessageIsNeverInTheListAndInTheField holds back the answer until the stream has brought the message.
func TestMessageIsNeverInTheListAndInTheField(t *testing.T) {
	b, tab := browse(t)
	answer := make(chan struct{})
	tab.do(chromedp.Navigate(b.front(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "POST" {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got := b.send("POST", "/record", string(body), "Content-Type", r.Header.Get("Content-Type"), "Accept", r.Header.Get("Accept"))
		<-answer
		w.WriteHeader(got.status)
		fmt.Fprint(w, got.body)
	})))
	b.came.waitFor(t, 1, "/live?after=0")
	tab.run(`
		window.both = false;
		new MutationObserver(() => both ||= document.querySelector("textarea").value !== "").observe(document.querySelector(".book"), {childList: true, subtree: true});
		window.streamed = 0;
		new EventSource("live?after=0").onmessage = () => streamed++`) // beside that of the page
	tab.do(chromedp.SendKeys(area, "hello"), chromedp.Click(button))
	tab.until(`streamed === 1`)
	tab.do(chromedp.Evaluate[chromedp.Void](`new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))`, chromedp.EvalAwaitPromise))
	if !tab.is(`document.querySelector("textarea").value === "hello" && !document.querySelector(".entry")`) {
		t.Error("the message is not only in the field, though there is no answer yet")
	}
	if !tab.is(`document.querySelector("form.record").ariaBusy === "true" && document.querySelector("form.record button").ariaDisabled === "true"`) {
		t.Error("the form does not say that the message is on its way")
	}
	close(answer)
	tab.until(`document.querySelectorAll(".entry").length === 1 && document.querySelector("textarea").value === ""`)
	tab.until(`document.querySelector("form.record").ariaBusy === "false" && document.querySelector("form.record button").ariaDisabled === "false"`)
	if tab.is(`both`) {
		t.Error("the message was in the list and in the field")
	}
}

// TestPageSaysWhetherItIsConnected takes the server away for a moment, and for long.
func TestPageSaysWhetherItIsConnected(t *testing.T) {
	b, tab := browse(t)
	var away atomic.Bool
	var cut atomic.Value // ends the stream
	tab.do(chromedp.Navigate(b.front(func(_ http.ResponseWriter, r *http.Request) {
		if away.Load() {
			panic(http.ErrAbortHandler)
		}
		if r.URL.Path == "/live" {
			ctx, cancel := context.WithCancel(r.Context())
			cut.Store(cancel)
			*r = *r.WithContext(ctx)
		}
	})))
	b.came.waitFor(t, 1, "/live?after=0")
	tab.run(`
		window.said = [];
		new MutationObserver(() => said.push(document.querySelector(".news").textContent)).observe(document.querySelector(".news[role=status]"), {childList: true, subtree: true})`)
	cut.Load().(context.CancelFunc)()
	b.came.waitFor(t, 2, "/live?after=0")
	away.Store(true)
	cut.Load().(context.CancelFunc)()
	tab.do(chromedp.SendKeys(area, "typed meanwhile"))
	tab.until(`document.querySelector(".news").textContent.includes("Connection lost")`)
	away.Store(false)
	tab.until(`document.querySelector(".news").textContent === "Connected again."`)
	tab.do(chromedp.Click(button), chromedp.WaitVisible(first))
	tab.until(`document.querySelector(".news").textContent === ""`)
	if got := get(tab, chromedp.Evaluate[string](`said.join("|")`)); got != "Connection lost. Trying again…|Connected again.|" {
		t.Errorf("the page has said %q", got)
	}
	b.holds("typed meanwhile")
}

// TestOthersMessagesAreAnnounced listens as a screen reader does.
func TestOthersMessagesAreAnnounced(t *testing.T) {
	b, tab := browse(t)
	tab.do(chromedp.Navigate(b.url))
	b.came.waitFor(t, 1, "/live?after=0")
	tab.run(`
		window.heard = [];
		const region = document.querySelector(".unseen[role=status]");
		new MutationObserver(() => heard.push(region.textContent)).observe(region, {childList: true, subtree: true, characterData: true})`)
	long := strings.Repeat("Zürich 🎈 ", 50)
	b.record(long)
	tab.until(`heard.length === 1`)
	tab.do(chromedp.SendKeys(area, "own"), chromedp.Click(button), chromedp.WaitVisible(chromedp.CSS("#message-2")))
	b.record("another")
	tab.until(`heard.length === 3`)
	b.fill(12)
	tab.until(`heard.length === 4`)
	want := strings.Join([]string{"New message: " + string([]rune(long)[:100]), "Recorded.", "New message: another", "12 new messages"}, "|")
	if got := get(tab, chromedp.Evaluate[string](`heard.join("|")`)); got != want {
		t.Errorf("a screen reader says\n%s\nwant\n%s", got, want)
	}
}

// TestPageAsksToConfirm opens the form with a message and without, and refuses one.
func TestPageAsksToConfirm(t *testing.T) {
	b, tab := browse(t)
	for path, want := range map[string]string{"/record": "Record a message", "/record?msg=": "Record a message", "/record?msg=linked": "Record this message?"} {
		tab.do(chromedp.Navigate(b.url + path))
		if got := get(tab, chromedp.Evaluate[string](`document.querySelector("h1").textContent`)); got != want {
			t.Errorf("%s: the heading is %q, want %q", path, got, want)
		}
	}
	tab.do(chromedp.Navigate(b.url + "/record?msg=linked"))
	if !tab.is(`document.querySelector("h1").getBoundingClientRect().height > 20 && [...document.querySelectorAll("button")].filter(button => button.checkVisibility()).length === 1`) {
		t.Error("the question cannot be seen, or there are several buttons")
	}
	tab.do(chromedp.SetValue(area, "linked and mended"), chromedp.Click(button), chromedp.WaitVisible(first))
	b.holds("linked and mended")
	refused := b.send("POST", "/record", "msg="+strings.Repeat("x", maxMessage+1), "Content-Type", form, "Accept", browser)
	if refused.status != 413 || strings.Contains(refused.body, "Record this message?") {
		t.Errorf("a refused message is answered %d %s", refused.status, refused.body)
	}
}

// TestFooterLeadsToEverything follows its links, and runs its command.
func TestFooterLeadsToEverything(t *testing.T) {
	b, tab := browse(t)
	b.fill(60)
	direct := b.send("GET", "/", "", "Accept", browser).body
	if want := "curl -N " + b.addr + "/live</code>"; !strings.Contains(direct, want) {
		t.Errorf("without the script, the page has no %s", want)
	}
	b.url = b.behind("/tools/daybook")
	for _, path := range []string{"/", "/?before=30&limit=2", "/?q=message"} {
		tab.do(chromedp.Navigate(b.url + path))
		for format, want := range map[string]int{"text": 60, "json": 61} {
			link := get(tab, chromedp.Evaluate[string](fmt.Sprintf(`document.querySelector(".forms a[href$='?all&format=%s']").href`, format)))
			if got := b.send("GET", strings.TrimPrefix(link, b.url), ""); got.status != 200 || strings.Count(got.body, "\n") != want || !strings.Contains(got.body, "message 60") {
				t.Errorf("%s: %s is answered %d with %d lines", path, link, got.status, strings.Count(got.body, "\n"))
			}
		}
	}
	tab.do(chromedp.Navigate(b.url + "/"))
	if got, want := tab.text(".forms .command"), "curl -N "+strings.TrimPrefix(b.url, "http://")+"/live"; got != want {
		t.Errorf("to follow: %q, want %q", got, want)
	}
}

// TestPageGoesOnAHomeScreen reads the manifest as a phone does, behind a proxy.
func TestPageGoesOnAHomeScreen(t *testing.T) {
	skipOnPostgreSQL(t)
	t.Parallel()
	b, tab := open(t), tab{t, launch(t)} // the profiles of other tests are incognito, where nothing can be installed
	b.url = b.behind("/tools/daybook")
	tab.do(chromedp.Navigate(b.url + "/messages/404"))
	var read browserpage.GetAppManifestResult
	var installable browserpage.GetInstallabilityErrorsResult
	tab.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) (err error) {
		if read, err = cdp.Call(ctx, t, browserpage.GetAppManifest, browserpage.GetAppManifestParams{}); err != nil {
			return err
		}
		installable, err = cdp.Call(ctx, t, browserpage.GetInstallabilityErrors, cdp.Empty{})
		return err
	}))
	for _, fault := range read.Errors {
		t.Errorf("the manifest: %s", fault.Message)
	}
	for _, fault := range installable.InstallabilityErrors {
		t.Errorf("it cannot be installed: %s", fault.ErrorID)
	}
	var manifest struct {
		StartURL string `json:"start_url"`
		Scope    string
		Icons    []struct{ Src, Sizes, Purpose string }
		Share    struct {
			Action, Method string
			Params         map[string]string
		} `json:"share_target"`
	}
	if err := json.Unmarshal([]byte(read.Data), &manifest); err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(read.URL)
	if err != nil {
		t.Fatal(err)
	}
	path := func(address string) string {
		return strings.TrimPrefix(base.ResolveReference(&url.URL{Path: address}).String(), b.url)
	}
	if served := b.send("GET", path(base.Path), "").header; served.Get("Content-Type") != "application/manifest+json" || !strings.Contains(served.Get("Cache-Control"), "immutable") {
		t.Errorf("the manifest is served with %v", served)
	}
	if start, scope := path(manifest.StartURL), path(manifest.Scope); start != "/" || scope != "/" {
		t.Errorf("it starts at %s, and its scope is %s", start, scope)
	}
	for _, icon := range manifest.Icons {
		got := b.send("GET", path(icon.Src), "")
		picture, err := png.DecodeConfig(bytes.NewReader([]byte(got.body)))
		if err != nil || fmt.Sprintf("%dx%[1]d", picture.Width) != icon.Sizes || picture.Width != picture.Height || got.header.Get("Content-Type") != "image/png" {
			t.Errorf("icon %s: %v, %dx%d, %v", icon.Src, err, picture.Width, picture.Height, got.header)
		}
	}
	if len(manifest.Icons) != 4 || manifest.Share.Method != "GET" {
		t.Errorf("%+v", manifest)
	}
	tab.do(chromedp.Navigate(b.url + path(manifest.Share.Action) + "?" + manifest.Share.Params["text"] + "=shared"))
	if got := get(tab, chromedp.Value(area)); got != "shared" || !strings.Contains(tab.text("h1"), "Record this message?") {
		t.Errorf("the form for what is shared holds %q", got)
	}
}
