//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"daybook/database"
)

// bigDatabase makes a database of a million messages of several kinds in the folder, or of fewer where a million would take
// minutes. It returns how many there are.
func bigDatabase(t *testing.T, folder string) (messages int) {
	t.Helper()
	messages = 1_000_000
	if race || testing.Short() { // with which SQLite without cgo is tested
		messages = 100_000
	}
	fillAtOnce(t, folder, messages)
	return messages
}

// fillAtOnce makes a database of messages of several kinds in the folder.
func fillAtOnce(t *testing.T, folder string, messages int) {
	t.Helper()
	path := filepath.Join(folder, "daybook.db")
	makeDatabase(t, path)
	driver, err := database.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer driver.Close()
	if err := driver.Exec(t.Context(), `
		WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?)
		INSERT INTO messages (value, folded, recorded_at)
		SELECT value, lower(value), recorded_at FROM (SELECT -- which folds these
			CASE n WHEN 1 THEN 'The book begins with a zebra' ELSE CASE n % 10
			WHEN 0 THEN 'Die Tür zum Hof stand offen, zum ' || n || '. Mal; ich habe sie geschlossen'
			WHEN 1 THEN 'backup: ' || n * 7919 % 86400 || ' files copied' || char(10) || 'backup: nothing skipped, nothing failed'
			WHEN 2 THEN 'Anna said "tomorrow", and left the list of ' || n || ' parts in D:\lists\new'
			WHEN 3 THEN '門がまた開いていたので閉めました。鍵は事務所にあります: ' || n
			ELSE 'The gate was open again when I came, and I closed it behind me: time ' || n
			END END AS value,
			strftime('%Y-%m-%d %H:%M:%f000+00:00', 1700000000 + 20 * n, 'unixepoch') AS recorded_at
		FROM number)`, []any{messages}, nil); err != nil {
		t.Fatal(err)
	}
}

// TestStopWhileMessagesAreFolded stops the first start with a database whose messages were recorded by an older version.
func TestStopWhileMessagesAreFolded(t *testing.T) {
	const messages = 100_000
	folder := t.TempDir()
	path := filepath.Join(folder, "daybook.db")
	makeDatabase(t, path)
	driver, err := database.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer driver.Close()
	if err := driver.Exec(t.Context(), `
		WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?)
		INSERT INTO messages (value, recorded_at) SELECT 'Message ' || n, '2026-11-19 07:05:09.000001+00:00' FROM number`,
		[]any{messages}, nil); err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	command := daybook(t, folder, "--listen=127.0.0.1:0")
	command.Stderr = &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(time.Minute); !folded(t, driver, 1); {
		if time.Now().After(limit) {
			t.Fatal("no message is folded")
		}
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); err != nil || folded(t, driver, messages) {
		t.Errorf("it ended with %v; the newest message is folded: %v; it said\n%s", err, folded(t, driver, messages), &output)
	}
}

// folded reports whether the message is folded.
func folded(t *testing.T, driver dialect.Driver, id int) bool {
	t.Helper()
	var rows entsql.Rows
	if err := driver.Query(t.Context(), "SELECT folded IS NOT NULL FROM messages WHERE id = ?", []any{id}, &rows); err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	is, err := entsql.ScanBool(rows)
	if err != nil {
		t.Fatal(err)
	}
	return is
}

// TestBigDatabase has a server whose database is larger than the memory that it may take.
func TestBigDatabase(t *testing.T) {
	folder := t.TempDir()
	messages := bigDatabase(t, folder)
	s := serveIn(t, folder, "--listen=127.0.0.1:0")
	defer s.stop(syscall.SIGTERM)
	for _, format := range []string{"text", "ndjson", "json"} {
		t.Run("all as "+format, func(t *testing.T) { s.sendsAll(t, format, messages) })
	}
	if peak := s.peak(); peak > 68_000_000 && !race { // of which some 27 are the program itself
		t.Errorf("the server took %d bytes of memory", peak)
	}
	t.Run("search", func(t *testing.T) {
		for query, want := range map[string]int{
			fmt.Sprintf("zum %d. MAL", messages): 1, // the newest
			"ZEBRA":                              1, // the oldest
			"鍵 3":                                50,
			"nowhere":                            0,
			"qx":                                 0,
		} {
			if got := s.search(query); len(got.Messages) != want || (got.Older != "") != (want == 50) {
				t.Errorf("%s: %d messages, older %q", query, len(got.Messages), got.Older)
			}
		}
	})
	t.Run("walk", func(t *testing.T) { s.walk(t, messages) })
}

// page is a page as JSON has it.
type page struct {
	Messages []struct{ ID int }
	Older    string
}

func (s *process) page(address string) (page page) {
	s.t.Helper()
	response, err := http.Get(s.url + "/" + address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&page); err != nil {
		s.t.Fatal(err)
	}
	return page
}

func (s *process) search(query string) page {
	s.t.Helper()
	return s.page("?format=json&q=" + url.QueryEscape(query))
}

// walk goes through the whole list, page by page, while others record.
func (s *process) walk(t *testing.T, messages int) {
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.post("meanwhile")
			}
		}
	})
	next, last := 0, 0
	for address := "?format=json&limit=1000"; address != ""; {
		page := s.page(address)
		for _, m := range page.Messages {
			if next == 0 {
				next = m.ID
			}
			if m.ID != next {
				t.Fatalf("%s: message %d comes where %d should", address, m.ID, next)
			}
			last, next = m.ID, next-1
		}
		address = page.Older
	}
	close(stop)
	others.Wait()
	if last != 1 {
		t.Errorf("the walk ends with message %d of %d", last, messages)
	}
}

// sendsAll asks for every message in the format.
func (s *process) sendsAll(t *testing.T, format string, messages int) {
	response, err := http.Get(s.url + "/?all&format=" + format)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	n := 0
	for ; lines.Scan(); n++ {
		if want := lineOfAll(format, n, messages); !strings.HasPrefix(lines.Text(), want) {
			t.Fatalf("line %d is %q, want %q", n, lines.Text(), want)
		}
		object := strings.TrimPrefix(lines.Text(), ",")
		if n%1000 == 999 && format != "text" && !json.Valid([]byte(object)) {
			t.Fatalf("line %d is not JSON: %s", n, object)
		}
	}
	if format == "json" {
		n-- // the line that ends it
	}
	if err := lines.Err(); err != nil || n != messages {
		t.Errorf("%d messages of %d, %v", n, messages, err)
	}
}

// lineOfAll returns how a line begins, the first one being 0, of an answer that has so many messages.
func lineOfAll(format string, line, messages int) string {
	switch {
	case format == "text":
		return fmt.Sprintf("%d\t", line+1)
	case format == "ndjson":
		return fmt.Sprintf(`{"id":%d,"value":"`, line+1)
	case line == 0:
		return fmt.Sprintf(`{"messages":[{"id":%d,"value":"`, messages)
	case line == messages:
		return "]}"
	}
	return fmt.Sprintf(`,{"id":%d,"value":"`, messages-line)
}

// peak returns the most memory in bytes that the process has had resident, or 0 where no /proc tells.
func (s *process) peak() (size int) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.command.Process.Pid))
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &size); err == nil {
			return size << 10
		}
	}
	return 0
}
