package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"daybook/database"
	"daybook/database/databasetest"
	"daybook/ent/migrations"
)

// maxListed is how many messages at most are listed on PostgreSQL.
const maxListed = 100_000

// postgres measures on a PostgreSQL server: pgbench, the usual way, the same with a connection for each client, Daybook, and two
// Daybooks on one database. Their databases have the same tables, indexes and triggers.
func (b *bench) postgres(ctx context.Context) {
	if b.err != nil {
		return
	}
	b.table("PostgreSQL", "Requests", "pgbench", "The usual way", "The usual way, tuned", "Daybook", "Two Daybooks")
	server, err := databasetest.NewServer("max_connections=300")
	if errors.Is(err, databasetest.ErrNotInstalled) {
		b.row("Not measured: there is no PostgreSQL here", "", "", "", "", "")
		return
	}
	if b.fail(err); b.err != nil {
		return
	}
	defer server.Remove()
	ctx, stop := context.WithCancel(ctx)
	defer b.running.Wait()
	defer stop()
	for _, name := range []string{"pgbench", "usual", "daybook"} {
		b.fail(createDatabase(ctx, server, name, min(b.messages, maxListed)))
	}
	usual := b.start(ctx, "", b.scratch+"/bench", "usual", server.URL("usual"))
	tuned := b.start(ctx, "", b.scratch+"/bench", "tuned", server.URL("usual"))
	args := []string{"--listen=127.0.0.1:0", "--database=" + server.URL("daybook")}
	one, two := b.start(ctx, "", b.daybook, args...), b.start(ctx, "", b.daybook, args...)
	n := b.recorders
	r := b.inTurns(
		func() []result { return []result{b.pgbench(ctx, server.URL("pgbench"), n)} },
		func() []result { return b.measure([]load{post(usual, n)}) },
		func() []result { return b.measure([]load{post(tuned, n)}) },
		func() []result { return b.measure([]load{post(one, n)}) },
		func() []result { return b.measure([]load{post(one, n/2), post(two, n/2)}) },
	)
	b.row(fmt.Sprintf("`POST /record`, %d connections", n), english.Sprintf("%.0f/s", r[0].perSecond), r[1], r[2], r[3], together(r[4], r[5]))
	r = b.compare([]load{list(usual, 16)}, []load{list(tuned, 16)}, []load{list(one, 16)}, []load{list(one, 8), list(two, 8)})
	b.row("`GET /`, 16 connections", "", r[0], r[1], r[2], together(r[3], r[4]))
}

// together returns the result of two loads at the same time.
func together(x, y result) result { return result{x.perSecond + y.perSecond, max(x.p99, y.p99)} }

// createDatabase creates a database with Daybook's tables and messages.
func createDatabase(ctx context.Context, server *databasetest.Server, name string, messages int) error {
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	if err == nil {
		_, err = conn.Exec(ctx, "CREATE DATABASE "+name)
		err = errors.Join(err, conn.Close(ctx))
	}
	if err != nil {
		return err
	}
	driver, err := database.Open(ctx, server.URL(name))
	if err != nil {
		return err
	}
	err = database.Migrate(ctx, driver, migrations.Files, slog.New(slog.DiscardHandler))
	if err == nil {
		err = driver.Exec(ctx, `INSERT INTO messages (value, folded, recorded_at)
			SELECT 'The gate was open again, and I closed it: time ' || n, 'the gate was open again, and i closed it: time ' || n,
				now() - interval '1 second' * ($1::int - n) FROM generate_series(1, $1) AS n`, []any{messages}, nil)
	}
	return errors.Join(err, driver.Close())
}

// recordStatements are those of the usual way, and of Daybook.
const recordStatements = `BEGIN;
INSERT INTO messages (value, recorded_at, folded) VALUES ('The gate is open; please close it when you leave.', now(),
	'the gate is open; please close it when you leave.') RETURNING id;
COMMIT;
`

// tps is where pgbench says how many transactions there were in a second.
var tps = regexp.MustCompile(`tps = ([0-9.]+)`)

// pgbench measures PostgreSQL by its own program, with prepared statements.
func (b *bench) pgbench(ctx context.Context, url string, connections int) (r result) {
	script := b.scratch + "/record.sql"
	if err := os.WriteFile(script, []byte(recordStatements), 0o600); err != nil {
		b.fail(err)
		return r
	}
	seconds := max(1, int(b.duration/time.Second))
	command := exec.CommandContext(ctx, "pgbench", "--no-vacuum", "--protocol=prepared", "--jobs=2", fmt.Sprintf("--client=%d", connections),
		fmt.Sprintf("--time=%d", seconds), "--file="+script, url)
	output, err := command.CombinedOutput()
	found := tps.FindSubmatch(output)
	if err != nil || found == nil {
		b.fail(fmt.Errorf("%s: %w\n%s", command, err, output))
		return r
	}
	r.perSecond, err = strconv.ParseFloat(string(found[1]), 64)
	b.fail(err)
	return r
}
