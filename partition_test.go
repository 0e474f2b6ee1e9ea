//go:build linux

package main

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"daybook/database/databasetest"
)

// TestDatabaseMachineVanishes takes the address of the database's machine away, as if that had lost its power: nothing comes from
// there any more, not even that a connection is closed. The database is then found at the other address of the URL.
func TestDatabaseMachineVanishes(t *testing.T) {
	t.Parallel()
	if !inOwnNetwork(t) {
		return
	}
	const machine = "10.99.0.1"
	run(t, exec.Command("ip", "address", "add", machine, "dev", "lo"))
	postgres := databasetest.Start(t)
	direct := postgres.New(t)
	_, first := databasetest.Through(t, machine+":0", direct, nil)
	_, second := databasetest.Through(t, "127.0.0.1:0", direct, nil)
	servers := instances(t, 2, eitherOf(t, first, second))
	r := record(t, 64, servers...) // so that all connections are in use
	r.wait(200)
	run(t, exec.Command("ip", "address", "delete", machine, "dev", "lo"))
	vanished := time.Now()
	r.wait(500)
	away := time.Since(vanished)
	recorded := r.stop()
	for status := range r.refused {
		if status != http.StatusServiceUnavailable {
			t.Errorf("%d were answered %d", r.refused[status], status)
		}
	}
	// Each attempt may wait 5 s for a connection, and then find it dead 10 s later. There are up to 3.
	if r.slowest > 50*time.Second {
		t.Errorf("an answer took %s", r.slowest)
	}
	t.Logf("%d recorded, refused %v, recording went on within %s, the slowest answer took %s", len(recorded), r.refused, away, r.slowest)
	checkMessages(t, direct, recorded)
}

// eitherOf returns the URL of a database that can be reached by two URLs.
func eitherOf(t *testing.T, first, second string) string {
	t.Helper()
	a, err := url.Parse(first)
	b, other := url.Parse(second)
	if err := errors.Join(err, other); err != nil {
		t.Fatal(err)
	}
	query := a.Query()
	for _, name := range []string{"host", "port"} {
		query.Set(name, query.Get(name)+","+b.Query().Get(name))
	}
	a.RawQuery = query.Encode()
	return a.String()
}

// inOwnNetwork reports whether the test has a network of its own. If not, it runs the test again as a process that has one, for
// which one has to be root.
func inOwnNetwork(t *testing.T) bool {
	t.Helper()
	const variable = "DAYBOOK_TEST_OWN_NETWORK"
	ip := need(t, "ip")
	if os.Getenv(variable) == "1" {
		run(t, exec.Command(ip, "link", "set", "lo", "up"))
		return true
	}
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
	command.Env = append(os.Environ(), variable+"=1")
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	output, err := command.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("a network of its own cannot be made here, for which one has to be root on Linux: %v", err)
	}
	t.Logf("%s", output)
	if err != nil {
		t.Error(err)
	}
	return false
}
