//go:build cgo

package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"daybook/docs/bench/crowd"
)

// TestRun measures everything, briefly, and looks at what is written but not at how fast anything is.
func TestRun(t *testing.T) {
	b := small(t, t.Output())
	err := b.run(t.Context())
	document, noDocument := os.ReadFile(b.folder + "/benchmarks.md")
	picture, noPicture := os.ReadFile(b.folder + "/benchmarks.svg")
	if err := errors.Join(err, noDocument, noPicture, xml.Unmarshal(picture, new(struct{}))); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# Benchmarks\n", "\n| 2 | ", "`GET /?q=heron`", "slower disk", "of 10 listeners", "In a crowd", "Two Daybooks"} {
		if !strings.Contains(string(document), want) {
			t.Errorf("the document has no %q:\n%s", want, document)
		}
	}
	if bytes.Count(picture, []byte("<polyline")) != 6 || bytes.Contains(picture, []byte("NaN")) {
		t.Errorf("the picture does not have six lines, or a place is no number:\n%s", picture)
	}
}

// TestInterruptedRun ends a run when it has begun to measure.
func TestInterruptedRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	if err := small(t, canceler(cancel)).run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

func TestWrongAnswerFailsTheRun(t *testing.T) {
	wrong := httptest.NewServer(http.NotFoundHandler())
	defer wrong.Close()
	b := &bench{duration: time.Millisecond, rounds: 1}
	b.compare([]load{post(&server{address: wrong.Listener.Addr().String()}, 4)})
	if b.err == nil || !strings.Contains(b.err.Error(), "404 Not Found") {
		t.Errorf("it ended with %v", b.err)
	}
}

// small returns a short run with a copy of the document. When the test ends, nothing else of the run may be left.
func small(t *testing.T, progress io.Writer) *bench {
	t.Helper()
	b := &bench{messages: 1000, duration: 100 * time.Millisecond, rounds: 1, connections: []int{1, 2}, recorders: 2,
		listeners: 10, crowd: crowd.Crowd{Idle: 2, Slow: 2, Unread: 3}, folder: t.TempDir(), progress: progress}
	document, err := os.ReadFile("../benchmarks.md")
	if err := errors.Join(err, os.WriteFile(b.folder+"/benchmarks.md", document, 0o600)); err != nil {
		t.Fatal(err)
	}
	temporary := t.TempDir()
	if err := os.Chmod(filepath.Dir(temporary), 0o755); err != nil { // for PostgreSQL, which does not run as root
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", temporary) // which its processes inherit
	t.Cleanup(func() {
		if files, err := os.ReadDir(temporary); err != nil || len(files) > 0 {
			t.Errorf("files are left: %v %v", files, err)
		}
		processes, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, process := range processes {
			if environment, _ := os.ReadFile(process); bytes.Contains(environment, []byte("TMPDIR="+temporary)) {
				t.Errorf("%s is left", process)
			}
		}
	})
	return b
}

// canceler is a writer that cancels.
type canceler context.CancelFunc

func (c canceler) Write(p []byte) (int, error) {
	c()
	return len(p), nil
}
