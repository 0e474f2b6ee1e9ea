package database

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ariga.io/atlas/sql/migrate"
)

// TestLongMigrationIsLogged runs a file with two statements, which take 5 seconds each.
func TestLongMigrationIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p := &progress{log: slog.New(slog.NewTextHandler(&log, nil)), end: func() {}}
		p.Log(migrate.LogFile{File: migrate.NewLocalFile("0001_step.sql", nil)})
		for range 2 {
			p.Log(migrate.LogStmt{})
			time.Sleep(5 * time.Second)
		}
		p.end()
		for _, want := range []string{"statement=1 for=2s", "statement=1 for=4s", "statement=2 for=2s", "statement=2 for=4s"} {
			if !strings.Contains(log.String(), "msg=migrating file=0001_step.sql "+want+"\n") {
				t.Errorf("%q is not logged", want)
			}
		}
		if n := strings.Count(log.String(), "\n"); n != 4 {
			t.Errorf("%d lines, want 4:\n%s", n, &log)
		}
	})
}
