//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"daybook/database/databasetest"
)

// entry is a line of an export.
type entry struct {
	ID, Removes int
	Value       string
	RecordedAt  time.Time `json:"recorded_at"`
}

// entries reads an export.
func entries(t *testing.T, export []byte) (all []entry) {
	t.Helper()
	for decoder := json.NewDecoder(bytes.NewReader(export)); decoder.More(); {
		var e entry
		if err := decoder.Decode(&e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// run runs a command that must succeed, and returns its standard output.
func run(t *testing.T, command *exec.Cmd) []byte {
	t.Helper()
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, &stderr)
	}
	return output
}

// values returns the IDs of the messages in an export, by their values.
func values(t *testing.T, export []byte) map[string]int {
	t.Helper()
	ids := map[string]int{}
	for _, e := range entries(t, export) {
		if e.Removes == 0 {
			ids[e.Value] = e.ID
		}
	}
	return ids
}

// TestADayInFastMotion has what may happen to messages in a year: an old version is upgraded, messages are imported, many are recorded,
// some are removed, old ones are dropped, and the database is backed up, while the server is restarted and killed. It is lost and
// restored, gets back what came after the backup, and moves to PostgreSQL: the same messages, IDs, times and keys.
func TestADayInFastMotion(t *testing.T) {
	postgres := databasetest.Start(t)
	folder, elsewhere := t.TempDir(), t.TempDir()
	path := filepath.Join(folder, "daybook.db")
	makeOldDatabase(t, path, 4) // with two messages of another day, which are dropped
	s := serveIn(t, folder, "--listen=127.0.0.1:0", "--keep=24h")
	again := []string{"--listen=" + strings.TrimPrefix(s.url, "http://"), "--keep=24h"}
	r := record(t, 16, s)
	r.wait(200)

	imported := filepath.Join(elsewhere, "imported.ndjson")
	var lines strings.Builder
	for i := range 500 {
		at := time.Now().Add(-time.Duration(i%2*47+1) * time.Hour).UTC() // every other one is too old
		fmt.Fprintf(&lines, `{"id":%d,"value":"imported %[1]d","recorded_at":"%s"}`+"\n", 1_000_001+i, at.Format(time.RFC3339Nano))
	}
	if err := os.WriteFile(imported, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, daybook(t, folder, "import", imported))
	r.wait(200)
	run(t, daybook(t, folder, "remove", "1000001", "1000003"))

	s.stop(syscall.SIGTERM)
	s = serveIn(t, folder, again...)
	r.wait(200)
	r.mu.Lock()
	before := maps.Clone(r.recorded)
	r.mu.Unlock()
	backup := filepath.Join(elsewhere, "backup.db")
	run(t, daybook(t, folder, "backup", backup))
	r.wait(200)
	if err := s.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.log
	_ = s.command.Wait() // killed
	s = serveIn(t, folder, again...)
	r.wait(200)
	recorded := r.stop()
	s.stop(syscall.SIGTERM)

	export := run(t, daybook(t, folder, "export"))
	wanted := maps.Clone(recorded)
	for i := 2; i < 500; i += 2 { // what is not too old
		if i != 2 {
			wanted[fmt.Sprint("imported ", 1_000_001+i)] = 1_000_001 + i
		}
	}
	if got := values(t, export); !maps.Equal(got, wanted) {
		t.Errorf("in the evening there are %d messages, want %d", len(got), len(wanted))
	}

	restore := exec.Command("sh", "-ec", commandsIn(t, "To restore, stop Daybook"))
	restore.Dir, restore.Env = folder, append(os.Environ(), "BACKUP="+backup)
	run(t, restore)
	restored := values(t, run(t, daybook(t, folder, "export")))
	for value, id := range before {
		if restored[value] != id {
			t.Errorf("%q was recorded as %d before the backup, and is restored as %d", value, id, restored[value])
		}
	}
	if len(restored) >= len(wanted) {
		t.Errorf("the backup has all %d messages: nothing was recorded after it", len(restored))
	}
	later := filepath.Join(elsewhere, "later.ndjson")
	if err := os.WriteFile(later, export, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, daybook(t, folder, "import", later))
	if got := run(t, daybook(t, folder, "export")); !bytes.Equal(got, export) {
		t.Errorf("after the export was imported, the export differs: %s", difference(strings.Split(string(got), "\n"), strings.Split(string(export), "\n")))
	}

	url := postgres.New(t)
	run(t, daybook(t, elsewhere, "import", later, "--database="+url))
	if got := run(t, daybook(t, elsewhere, "export", "--database="+url)); !bytes.Equal(got, export) {
		t.Errorf("on PostgreSQL, the export differs: %s", difference(strings.Split(string(got), "\n"), strings.Split(string(export), "\n")))
	}
	onSQLite, onPostgres := serveIn(t, folder, again...), serveIn(t, elsewhere, "--listen=127.0.0.1:0", "--database="+url)
	if got, want := onPostgres.get("/?all&format=ndjson"), onSQLite.get("/?all&format=ndjson"); got != want {
		t.Error("on PostgreSQL, /?all differs")
	}
	all := entries(t, export)
	for _, s := range []*process{onSQLite, onPostgres} {
		if status, id := r.send(s, "the next day"); status != 201 || id <= all[len(all)-1].ID {
			t.Errorf("the next message is answered %d, with the ID %d", status, id)
		}
		for value, id := range recorded { // keys are remembered
			if status, again := r.send(s, value); status != 201 || again != id {
				t.Errorf("%q again is answered %d, with the ID %d", value, status, again)
			}
			break
		}
		s.stop(syscall.SIGTERM)
	}
}
