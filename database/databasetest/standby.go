package databasetest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Standby starts a synchronous standby of the server: from now on, a commit on the server waits for it.
func (s *Server) Standby(t testing.TB) *Server {
	t.Helper()
	standby := &Server{programs: s.programs, credential: s.credential}
	t.Cleanup(standby.Remove)
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	standby.folder, err = os.MkdirTemp("", "postgres")
	fail(err)
	fail(standby.giveFolder())
	standby.data = filepath.Join(standby.folder, "data")
	fail(standby.program("pg_basebackup", "--host="+s.folder, "--username=postgres", "--pgdata="+standby.data, "--write-recovery-conf",
		"--checkpoint=fast", "--no-sync"))
	fail(standby.Begin())
	s.Execute(t, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
	for limit := time.Now().Add(startLimit); !s.replicates(t); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the standby does not follow")
		}
	}
	return standby
}

// replicates reports whether the server has a synchronous standby.
func (s *Server) replicates(t testing.TB) (replicates bool) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err == nil {
		err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')").Scan(&replicates)
		_ = conn.Close(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	return replicates
}

// Promote makes a standby the primary server.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	s.Execute(t, "SELECT pg_promote()")
}

// Execute executes statements on the server, each by itself.
func (s *Server) Execute(t testing.TB, statements ...string) {
	t.Helper()
	if err := execute(s.URL("postgres"), statements...); err != nil {
		t.Fatal(err)
	}
}
