package main

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"daybook/docs/bench/crowd"
)

// bench is one run.
type bench struct {
	daybook              string // the binary to measure; if empty, the one of this repository
	onlyPostgres         bool   // measure nothing else, and write nothing
	onlyCrowd            bool   // measure only what visitors wait in a crowd, and write nothing
	messages             int    // in the database that is listed and searched
	duration             time.Duration
	rounds               int
	connections          []int
	recorders, listeners int // where something else is varied
	crowd                crowd.Crowd
	folder               string // of benchmarks.md
	progress             io.Writer
	err                  error          // the first that happened; after it, nothing more is measured
	scratch              string         // the folder of the databases, logs and programs
	running              sync.WaitGroup // the servers
	largest              float64        // memory that a Daybook took, in KiB
	tables               bytes.Buffer
	charts               []chart
}

// run measures everything, and writes the results. However it ends, it leaves no process and no other file behind.
func (b *bench) run(ctx context.Context) error {
	b.scratch, b.err = os.MkdirTemp("", "daybook-bench-")
	defer os.RemoveAll(b.scratch)
	build := exec.CommandContext(ctx, "go", "build", "-o", b.scratch, "daybook", "daybook/docs/bench")
	build.Cancel = func() error { return build.Process.Signal(os.Interrupt) } // so that it removes its files
	if output, err := build.CombinedOutput(); err != nil {
		b.fail(fmt.Errorf("%s: %w\n%s", build, err, output))
	}
	b.daybook = cmp.Or(b.daybook, b.scratch+"/daybook")
	inCrowd := func() { b.phase(ctx, min(b.messages, maxListed), "", func(s servers) { b.inCrowd(ctx, s) }) }
	switch {
	case b.onlyPostgres:
		b.postgres(ctx)
		return cmp.Or(context.Cause(ctx), b.err)
	case b.onlyCrowd:
		inCrowd()
		return cmp.Or(context.Cause(ctx), b.err)
	}
	b.phase(ctx, 0, "", b.recording)
	b.phase(ctx, b.messages, "", b.listing)
	b.phase(ctx, 0, b.slowDiskLibrary(), b.slowDisk)
	b.phase(ctx, 0, "", b.listening)
	inCrowd()
	b.postgres(ctx)
	b.write()
	return cmp.Or(context.Cause(ctx), b.err)
}

// fail keeps the first error.
func (b *bench) fail(err error) { b.err = cmp.Or(b.err, err) }

// servers are the processes that are compared.
type servers struct {
	echo, usual, daybook *server
	database             string // of Daybook
}

// phase starts new servers, with messages in their databases and a library before all others. It measures, and ends them.
func (b *bench) phase(ctx context.Context, messages int, library string, measure func(servers)) {
	if b.err != nil {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	defer b.running.Wait()
	defer stop()
	folder, err := os.MkdirTemp(b.scratch, "")
	b.fail(err)
	s, other := servers{database: folder + "/daybook.db"}, folder+"/usual.db"
	s.daybook = b.start(ctx, library, b.daybook, "--listen=127.0.0.1:0", "--database="+s.database)
	s.usual = b.start(ctx, library, b.scratch+"/bench", "usual", other)
	b.fail(errors.Join(fill(s.database, messages), fill(other, messages)))
	s.echo = b.start(ctx, library, b.scratch+"/bench", "echo", s.daybook.address)
	if b.err == nil {
		measure(s)
		b.largest = max(b.largest, s.daybook.proc("status", "VmHWM:"))
	}
}

// fill adds messages to a database, a second apart. It writes past the server, and so it takes seconds and not minutes.
func fill(file string, messages int) error {
	db, err := sql.Open("sqlite3", file)
	if err != nil {
		return err
	}
	_, err = db.Exec(`
		WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < $1)
		INSERT INTO messages (value, folded, recorded_at)
		SELECT 'The gate was open again, and I closed it: time ' || n, 'the gate was open again, and i closed it: time ' || n,
			strftime('%Y-%m-%d %H:%M:%f000+00:00', unixepoch() - $1 + n, 'unixepoch')
		FROM number WHERE n <= $1;
		PRAGMA wal_checkpoint(TRUNCATE)`, messages)
	return errors.Join(err, db.Close())
}
