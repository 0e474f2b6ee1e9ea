//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"

	"daybook/logs"
)

// hostile has characters that must not reach a terminal: C1, DEL, those that reorder text or are invisible, a line separator, one
// beyond U+FFFF, a byte that is not UTF-8, and an escape sequence.
const hostile = "a\u009bb\x7f\u202e\u2066\u200f\u061c\ufeff\u2028\U000e0041\xff\x1b[2J"

// logged returns what the server writes when log is given the logger.
func logged(t *testing.T, format string, log func(*slog.Logger)) string {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	line := commandLine{Log: format}
	queue := logs.NewQueue(writer, nil)
	log(line.logger(queue))
	queue.Close()
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func checkPrintable(t *testing.T, log string) {
	t.Helper()
	if i := strings.IndexFunc(log, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("the log contains %+q:\n%q", log[i:min(i+4, len(log))], log)
	}
	if strings.Contains(log, "\xff") {
		t.Errorf("the log is not UTF-8: %q", log)
	}
}

// TestLogIsPrintable logs every control and format character there is, in messages, keys and values.
func TestLogIsPrintable(t *testing.T) {
	everything := hostile
	for r := range unicode.MaxRune {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			everything += string(r)
		}
	}
	for _, format := range []string{"text", "json"} {
		log := logged(t, format, func(log *slog.Logger) {
			log.Info(everything, everything, everything, "error", errors.New(everything), slog.Group(everything, "any", []string{everything}))
			slog.NewLogLogger(log.Handler(), slog.LevelWarn).Print(everything) // net/http's
		})
		checkPrintable(t, log)
		if n := strings.Count(log, "\n"); n != 2 {
			t.Errorf("%d lines of 2:\n%s", n, log)
		}
		if format == "text" {
			continue
		}
		want := strings.ToValidUTF8(everything, "\ufffd")
		for text := range strings.Lines(log) {
			var record map[string]any
			if err := json.Unmarshal([]byte(text), &record); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			if record["msg"] != want {
				t.Errorf("the message is %+q, want %+q", record["msg"], want)
			}
			if record["level"] == "INFO" && (record["error"] != want || record[want] == nil) {
				t.Errorf("%+q", record)
			}
		}
	}
}

// TestServerLogsPrintable sends such characters in an address and in a message, which --debug logs with its statement.
func TestServerLogsPrintable(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		s := serveIn(t, t.TempDir(), "--listen=127.0.0.1:0", "--debug", "--log="+format)
		address := strings.NewReplacer("\x7f", "", "\x1b", "").Replace(hostile) // net/http refuses these
		conn := s.say("GET /" + address + "?" + address + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if answer, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 404 ") {
			t.Errorf("answered %q, %v", answer, err)
		}
		value := strings.ReplaceAll(hostile, "\xff", "")
		if status, body := s.post(value); status != http.StatusCreated {
			t.Errorf("answered %d %s", status, body)
		}
		log := s.stop(syscall.SIGTERM)
		checkPrintable(t, log)
		if format == "text" {
			continue
		}
		found := 0
		for text := range strings.Lines(log) {
			var record struct{ Msg, Path string }
			if err := json.Unmarshal([]byte(text), &record); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			if record.Path == strings.ToValidUTF8("/"+address, "\ufffd") || strings.Contains(record.Msg, value) {
				found++
			}
		}
		if found < 2 {
			t.Errorf("the log does not have the address and the value:\n%s", log)
		}
	}
}

// TestStalledLog does not read standard error until thousands of requests are answered.
func TestStalledLog(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		const clients, each = 20, 150
		command := daybook(t, t.TempDir(), "--listen=127.0.0.1:0", "--log="+format)
		pipe, err := command.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		stderr := bufio.NewReader(pipe)
		greeting, err := stderr.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stderr.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		url := address.FindStringSubmatch(greeting)[1]
		client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
		ask := func(path string) error {
			response, err := client.Get(url + path)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusNotFound {
				return fmt.Errorf("answered %d, %w", response.StatusCode, err)
			}
			return nil
		}
		long := "/" + strings.Repeat("x", 2000) // so that three thousand are more than the queue and the pipe hold
		var group sync.WaitGroup
		for range clients {
			group.Go(func() {
				for range each {
					if err := ask(long); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
		if t.Failed() {
			t.FailNow()
		}
		read, dropped, last := 0, 0, false
		next := func() bool {
			line, err := stderr.ReadString('\n')
			if errors.Is(err, io.EOF) {
				return false
			}
			if err != nil {
				t.Fatal(err)
			}
			last = strings.Contains(line, "/last")
			if found := droppedLines.FindStringSubmatch(line); found != nil {
				n, _ := strconv.Atoi(found[1])
				dropped += n
			} else {
				read++
			}
			return true
		}
		for dropped == 0 && next() { // until it says that lines were dropped, or ends
		}
		if err := ask("/last"); err != nil {
			t.Error(err)
		}
		client.CloseIdleConnections()
		if err := command.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		for next() {
		}
		if err := command.Wait(); err != nil {
			t.Error(err)
		}
		if read+dropped != clients*each+1 || dropped == 0 || !last {
			t.Errorf("%d lines and %d dropped of %d; the last one is there: %v", read, dropped, clients*each+1, last)
		}
	}
}

var droppedLines = regexp.MustCompile(`log lines were dropped.*lines"?[=:](\d+)`)

// TestStopWithStalledLog stops a server whose standard error nobody reads.
func TestStopWithStalledLog(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	queue := logs.NewQueue(writer, nil)
	for range 3 {
		if _, err := queue.Write([]byte(strings.Repeat("x", 100<<10) + "\n")); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	queue.Close()
	if took := time.Since(begun); took < 500*time.Millisecond || took > 5*time.Second {
		t.Errorf("it took %s to give up", took)
	}
}
