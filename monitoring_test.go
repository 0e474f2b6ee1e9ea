//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// prometheus is a Prometheus that watches a server.
type prometheus struct {
	t     *testing.T
	url   string
	limit time.Time // of all that the test waits for
}

// watch starts Prometheus as docs/monitoring says, but it looks every second, and alerts at once.
func watch(t *testing.T, s *process, token string) *prometheus {
	t.Helper()
	folder := t.TempDir()
	for name, replacements := range map[string][]string{
		"prometheus.yml": {"15s", "1s", "127.0.0.1:8080", strings.TrimPrefix(s.url, "http://"), "/etc/daybook/token", token},
		"alerts.yml":     {"for: 1m", "for: 0s", "for: 5m", "for: 0s", "for: 10m", "for: 0s"},
	} {
		content, err := os.ReadFile(filepath.Join("docs/monitoring", name))
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.NewReplacer(replacements...).Replace(string(content))
		if err := os.WriteFile(filepath.Join(folder, name), []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, need(t, "prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data",
		"--web.listen-address=127.0.0.1:0")
	command.Dir = folder
	pipe, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	listening := regexp.MustCompile(`msg="Listening on" address=(127\S+)`)
	address, ended := make(chan string, 1), make(chan string, 1)
	go func() {
		log, at := "", ""
		for lines := bufio.NewScanner(pipe); lines.Scan(); log += lines.Text() + "\n" {
			if match := listening.FindStringSubmatch(lines.Text()); match != nil {
				at = match[1]
			}
			if strings.Contains(lines.Text(), `msg="Server is ready`) {
				address <- at
			}
		}
		ended <- log
	}()
	t.Cleanup(func() {
		cancel()
		if log := <-ended; t.Failed() {
			t.Log(log)
		}
		_ = command.Wait() // killed
	})
	select {
	case at := <-address:
		return &prometheus{t, "http://" + at, time.Now().Add(30 * time.Second)}
	case log := <-ended:
		ended <- log
		t.Fatal("Prometheus has not started")
	}
	return nil
}

// get asks Prometheus's API, and returns an error as Prometheus says it.
func (p *prometheus) get(path string, data any) error {
	response, err := http.Get(p.url + "/api/v1/" + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer := struct {
		Error string
		Data  any
	}{Data: data}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Error != "" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return nil
}

// hasData reports whether an expression has a value that is a number.
func (p *prometheus) hasData(expression string) (bool, error) {
	var data struct {
		Result []struct{ Value [2]any }
	}
	err := p.get("query?query="+url.QueryEscape(expression), &data)
	for _, series := range data.Result {
		if n, err := strconv.ParseFloat(series.Value[1].(string), 64); err == nil && !math.IsNaN(n) {
			return true, nil
		}
	}
	return false, err
}

// alerts returns the state of each alert, once all have been evaluated.
func (p *prometheus) alerts() (map[string]string, error) {
	var data struct {
		Groups []struct {
			Rules []struct{ Name, State, Health, LastError string }
		}
	}
	err := p.get("rules", &data)
	states := map[string]string{}
	for _, group := range data.Groups {
		for _, rule := range group.Rules {
			if rule.Health == "err" {
				err = fmt.Errorf("%s: %s", rule.Name, rule.LastError)
			} else if rule.Health == "ok" {
				states[rule.Name] = rule.State
			}
		}
	}
	return states, err
}

// waitFor waits until it is so, or fails with an error.
func (p *prometheus) waitFor(what string, is func() (bool, error)) {
	p.t.Helper()
	for ; ; time.Sleep(100 * time.Millisecond) {
		yes, err := is()
		if err != nil {
			p.t.Errorf("%s: %v", what, err)
		}
		if yes || err != nil {
			return
		}
		if time.Now().After(p.limit) {
			p.t.Errorf("not in time: %s", what)
			return
		}
	}
}

// TestPrometheusWatches has Prometheus itself read a server's metrics, evaluate each expression of the dashboard, and alert when the
// server has been stopped.
func TestPrometheusWatches(t *testing.T) {
	t.Parallel()
	need(t, "prometheus")
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("correct-horse-battery"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serveIn(t, t.TempDir(), "--listen=127.0.0.1:0", "--private", "--token-file="+token)
	p := watch(t, s, token)
	for n := range 3 { // with a scrape in between, so that there are rates
		for _, path := range []string{"/", "/?all", "/nothing"} {
			s.ask("GET", path, "")
		}
		s.ask("POST", "/record", "hello")
		p.waitFor("the next scrape", func() (bool, error) {
			return p.hasData(fmt.Sprintf(`daybook_http_request_duration_seconds_count{route="/record"} == %d`, n+1))
		})
	}
	for _, expression := range dashboard(t) {
		p.waitFor(expression, func() (bool, error) {
			return p.hasData(strings.ReplaceAll(expression, "$__rate_interval", "1m"))
		})
	}
	quiet := map[string]string{}
	p.waitFor("all alerts evaluated", func() (bool, error) {
		var err error
		quiet, err = p.alerts()
		return len(quiet) == 8, err
	})
	for name, state := range quiet {
		if state != "inactive" {
			t.Errorf("while all is well, %s is %s", name, state)
		}
	}
	s.stop(syscall.SIGTERM)
	p.waitFor("DaybookDown fires", func() (bool, error) {
		states, err := p.alerts()
		return states["DaybookDown"] == "firing", err
	})
}

// ask sends a request that shows the token.
func (s *process) ask(method, path, body string) {
	s.t.Helper()
	request, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.SetBasicAuth("me", "correct-horse-battery")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		s.t.Fatal(err)
	}
}

// dashboard returns the expressions of the dashboard.
func dashboard(t *testing.T) (expressions []string) {
	t.Helper()
	content, err := os.ReadFile("docs/monitoring/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(content, &board); err != nil {
		t.Fatal(err)
	}
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			expressions = append(expressions, target.Expr)
		}
	}
	if len(expressions) < 20 {
		t.Errorf("the dashboard has only %d expressions", len(expressions))
	}
	return expressions
}

// TestAlertsFireForTheirCauses has Prometheus's own tool make each cause up, and check the files.
func TestAlertsFireForTheirCauses(t *testing.T) {
	need(t, "prometheus") // which comes with promtool
	for _, args := range [][]string{
		{"test", "rules", "docs/monitoring/alerts_test.yml"},
		{"check", "config", "--syntax-only", "docs/monitoring/prometheus.yml"},
	} {
		if output, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, output)
		}
	}
}
