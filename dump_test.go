//go:build unix

package main

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"daybook/database/databasetest"
)

// TestDumpAndRestore restores what pg_dump has written while many record. The restored database has whole messages with their IDs
// and keys, gives greater numbers than any that it has, and keeps followers in order.
func TestDumpAndRestore(t *testing.T) {
	postgres := databasetest.Start(t)
	original, restored := postgres.New(t), postgres.New(t)
	s := instances(t, 1, original)[0]
	r := record(t, 16, s)
	r.wait(300)
	dump, err := exec.Command(program(t, "pg_dump"), original).Output()
	if err != nil {
		t.Fatal(err)
	}
	r.wait(1)
	recorded := r.stop()
	s.stop(syscall.SIGTERM)

	psql := exec.Command(program(t, "psql"), "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction", restored)
	psql.Stdin = strings.NewReader(string(dump))
	if output, err := psql.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	rows := texts(t, restored, "SELECT id || ' ' || value FROM messages ORDER BY id")
	if len(rows) < 300 {
		t.Fatalf("%d messages are restored", len(rows))
	}
	newest := 0
	for _, row := range rows {
		number, value, _ := strings.Cut(row, " ")
		if newest, _ = strconv.Atoi(number); recorded[value] != newest {
			t.Errorf("%q is restored as %d, it was %d", value, newest, recorded[value])
		}
	}
	const objects = `SELECT kind || ' ' || name FROM (
		SELECT 'index', indexname FROM pg_indexes WHERE schemaname = 'public'
		UNION ALL SELECT 'function', proname FROM pg_proc WHERE proname LIKE '%message%'
		UNION ALL SELECT 'trigger', tgname FROM pg_trigger) AS object (kind, name) ORDER BY 1`
	if got, want := texts(t, restored, objects), texts(t, original, objects); !slices.Equal(got, want) {
		t.Errorf("restored are %q, there were %q", got, want)
	}

	s = instances(t, 1, restored)[0]
	_, value, _ := strings.Cut(rows[0], " ")
	if status, id := r.send(s, value); status != http.StatusCreated || id != recorded[value] {
		t.Errorf("the repeated message was answered %d with the ID %d, want %d", status, id, recorded[value])
	}
	for i := range 3 {
		if status, id := r.send(s, fmt.Sprint("afterwards ", i)); status != http.StatusCreated || id <= newest {
			t.Errorf("answered %d with the ID %d after %d", status, id, newest)
		}
	}
	followInOrder(t, s, s, restored)
}

// program returns the path of one of PostgreSQL's programs, which Debian keeps outside of PATH.
func program(t *testing.T, name string) string {
	t.Helper()
	if folders, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); len(folders) > 0 {
		return folders[len(folders)-1]
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
