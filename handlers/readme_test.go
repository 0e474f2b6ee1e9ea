package handlers_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestReadme runs the command lines of README.md, and compares what they print with what it says there.
func TestReadme(t *testing.T) {
	need(t, "apt-get install curl", "curl")
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(readme), "```console\n$ ")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		t.Fatal("README.md shows no session in a terminal")
	}
	b := open(t)
	for step := range strings.SplitSeq(block, "\n$ ") {
		line, want, _ := strings.Cut(strings.TrimSuffix(step, "\n"), "\n")
		command := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(line, "127.0.0.1:8080", b.addr))
		command.Env = append(os.Environ(), "CURL_HOME="+t.TempDir()) // a .curlrc is not the README's
		got, err := command.Output()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if sameTime(string(got)) != sameTime(want+"\n") {
			t.Errorf("%s\ngot\n%s\nwant\n%s", line, got, want)
		}
	}
}

// sameTime puts one time in place of every other.
func sameTime(text string) string {
	return regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d`).ReplaceAllString(
		regexp.MustCompile(`\.\d{6}Z`).ReplaceAllString(text, ".000000Z"), "2026-11-20T00:00:00")
}
