package handlers_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	browserpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"daybook/database/databasetest"
	"daybook/handlers"
)

// prompts are those of a browser for a name and a password.
type prompts struct {
	password atomic.Value // with which they are answered; if it is "", they are cancelled
	count    atomic.Int32
}

// answerPrompts answers the prompts of a tab from now on.
func (b tab) answerPrompts(password string) *prompts {
	b.t.Helper()
	p := &prompts{}
	p.password.Store(password)
	ctx, cancel := context.WithCancel(b.ctx)
	events := make(chan any, 1000)
	if err := chromedp.Listen(ctx, func(event any) {
		switch event.(type) {
		case *fetch.EventRequestPaused, *fetch.EventAuthRequired:
			events <- event
		}
	}); err != nil {
		b.t.Fatal(err)
	}
	var answering sync.WaitGroup
	answering.Go(func() {
		for {
			select {
			case event := <-events:
				p.answer(ctx, event)
			case <-ctx.Done():
				return
			}
		}
	})
	b.t.Cleanup(func() {
		cancel()
		answering.Wait()
	})
	yes := true
	b.do(command(fetch.Enable, fetch.EnableParams{HandleAuthRequests: &yes}))
	return p
}

// answer lets a request pass, or answers its prompt. An error means that the page with the request has gone.
func (p *prompts) answer(ctx context.Context, event any) {
	switch event := event.(type) {
	case *fetch.EventRequestPaused:
		_, _ = chromedp.Call(ctx, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: event.RequestID})
	case *fetch.EventAuthRequired:
		p.count.Add(1)
		response := &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseCancelAuth}
		if password := p.password.Load().(string); password != "" {
			response = &fetch.AuthChallengeResponse{
				Response: fetch.AuthChallengeResponseResponseProvideCredentials, Username: "anybody", Password: password,
			}
		}
		_, _ = chromedp.Call(ctx, fetch.ContinueWithAuth, fetch.ContinueWithAuthParams{RequestID: event.RequestID, AuthChallengeResponse: response})
	}
}

// TestPrivateBookAsksOnce shows the token when the book is opened; then everything works.
func TestPrivateBookAsksOnce(t *testing.T) {
	skipOnPostgreSQL(t)
	b, tab := openWith(t, databasetest.New(t), handlers.Access{Token: token, Private: true}), openTab(t)
	prompts, loads := tab.answerPrompts(token), tab.loads()
	tab.do(chromedp.Navigate(b.url), chromedp.SendKeys(area, "by the script"), chromedp.Click(button), chromedp.WaitVisible(first))
	if tab.is(`getComputedStyle(document.querySelector(".entry")).display !== "grid"`) {
		t.Error("the page has no style sheet")
	}
	b.came.waitFor(t, 1, "GET /live?")
	if got := b.send("POST", "/record", "by curl", "Authorization", "Bearer "+token); got.status != 201 {
		t.Fatalf("by curl: %d %s", got.status, got.body)
	}
	tab.until(`document.querySelector(".entry .value").textContent === "by curl"`)
	tab.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		manifest, err := cdp.Call(ctx, t, browserpage.GetAppManifest, browserpage.GetAppManifestParams{})
		if manifest.Data == "" || len(manifest.Errors) > 0 {
			b.t.Errorf("the manifest: %q, %v", manifest.Data, manifest.Errors)
		}
		return err
	}))
	tab.do(
		command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}),
		chromedp.Navigate(b.url+"/record"),
		chromedp.SendKeys(area, "without scripts"),
		chromedp.Click(button),
		chromedp.WaitVisible(chromedp.CSS("#message-3")),
	)
	b.recorded("by the script", "by curl", "without scripts")
	if n := prompts.count.Load(); n != 1 {
		t.Errorf("the browser has asked %d times", n)
	}
	for _, load := range loads() {
		if load[:2] == "40" && load[:3] != "401" {
			t.Errorf("it is refused: %s", load)
		}
	}
}

// TestBookWithATokenAsksToRecord reads without a prompt, cancels the one for the form, and answers it.
func TestBookWithATokenAsksToRecord(t *testing.T) {
	skipOnPostgreSQL(t)
	b, tab := openWith(t, databasetest.New(t), handlers.Access{Token: token}), openTab(t)
	b.client.Message.Create().SetValue("to read").ExecX(t.Context())
	prompts := tab.answerPrompts("")
	toRecord := chromedp.CSS(".to-record a")
	tab.do(chromedp.Navigate(b.url), chromedp.WaitVisible(first))
	b.came.waitFor(t, 1, "GET /live?")
	if n := prompts.count.Load(); n != 0 || tab.is(`document.querySelector("form.record") !== null`) {
		t.Errorf("to read, the browser has asked %d times, and there may be a form", n)
	}
	tab.do(chromedp.Click(toRecord), chromedp.WaitVisible(chromedp.CSS(".failure")))
	if got := tab.text(".failure"); !strings.Contains(got, "401") || prompts.count.Load() != 1 {
		t.Errorf("cancelled %d times, the page says %q", prompts.count.Load(), got)
	}
	prompts.password.Store(token)
	tab.do(chromedp.Navigate(b.url), chromedp.Click(toRecord), chromedp.SendKeys(area, "by the form"), chromedp.Click(button))
	tab.until(`document.querySelector(".entry .value")?.textContent === "by the form"`)
	tab.do(chromedp.SendKeys(area, "by the script"), chromedp.Click(button))
	tab.until(`document.querySelector(".entry .value").textContent === "by the script" && document.querySelector("textarea").value === ""`)
	b.recorded("to read", "by the form", "by the script")
	if n := prompts.count.Load(); n != 2 {
		t.Errorf("the browser has asked %d times", n)
	}
}

// TestCancelledPromptLosesNothing records from a page that was opened before the browser was asked for the token.
func TestCancelledPromptLosesNothing(t *testing.T) {
	skipOnPostgreSQL(t)
	b, tab := open(t), openTab(t)
	protected := openWith(t, b.at, handlers.Access{Token: token})
	front := b.front(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			protected.server.Handler.ServeHTTP(w, r)
		}
	})
	prompts := tab.answerPrompts("")
	tab.do(chromedp.Navigate(front), chromedp.SendKeys(area, "typed"), chromedp.Click(button))
	tab.until(`document.querySelector("[role=alert]")?.textContent.includes("needs the token")`)
	if got := get(tab, chromedp.Value(area)); got != "typed" || prompts.count.Load() != 1 {
		t.Errorf("cancelled %d times, the form holds %q", prompts.count.Load(), got)
	}
	prompts.password.Store(token)
	tab.do(chromedp.Click(button))
	tab.until(`document.querySelector(".entry .value")?.textContent === "typed" && document.querySelector("textarea").value === ""`)
	b.recorded("typed")
}

// TestPasswordInTheAddress opens a page with the token in its address, as some keep it in a bookmark.
func TestPasswordInTheAddress(t *testing.T) {
	skipOnPostgreSQL(t)
	b, tab := openWith(t, databasetest.New(t), handlers.Access{Token: token, Private: true}), openTab(t)
	tab.do(chromedp.Navigate("http://anybody:" + url.QueryEscape(token) + "@" + b.addr))
	tab.until(`document.querySelector("textarea") !== null && !document.body.innerText.includes("anybody")`)
	tab.do(chromedp.SendKeys(area, "hello"), chromedp.Click(button))
	tab.until(`document.querySelector(".entry .value")?.textContent === "hello"`)
	b.recorded("hello")
}
