// Package databasetest runs the tests of an application on both of the databases that package database opens. A test asks [New]
// for an empty database, and one test of the package runs all of them again on PostgreSQL:
//
//	func TestOnPostgreSQL(t *testing.T) { databasetest.OnPostgreSQL(t) }
//
// Its server is a throw-away one, from the programs on this machine. If they are missing, that test is skipped, or fails if
// DAYBOOK_TEST_STRICT is 1.
package databasetest

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// variable is set while the tests run on PostgreSQL: to the URL of a server on which databases can be created.
const variable = "DAYBOOK_TEST_POSTGRES"

// Postgres reports whether the tests run on PostgreSQL.
func Postgres() bool { return os.Getenv(variable) != "" }

// OnPostgreSQL runs the tests of the package that -run and -skip select, again, on PostgreSQL, while the parallel ones run here. To run
// one of them there, name both, as in -run 'TestOnPostgreSQL|TestThatOne'.
func OnPostgreSQL(t *testing.T) {
	if Postgres() {
		return
	}
	t.Parallel()
	server := Start(t, "fsync=off", "max_connections=300")
	skip := "^" + t.Name() + "$"
	if others := flag.Lookup("test.skip").Value.String(); others != "" {
		skip += "|" + others
	}
	args := []string{"-test.skip=" + skip}
	flag.Visit(func(f *flag.Flag) {
		passed := []string{"test.run", "test.short", "test.v", "test.timeout", "test.failfast"}
		for _, name := range passed {
			if f.Name == name {
				args = append(args, "-"+f.Name+"="+f.Value.String())
			}
		}
	})
	if run := flag.Lookup("test.run").Value.String(); run == "^"+t.Name()+"$" || run == t.Name() {
		args = append(args, "-test.run=")
	}
	command := exec.CommandContext(t.Context(), os.Args[0], args...)
	command.Env = append(os.Environ(), variable+"="+server.URL("postgres"))
	output, err := command.CombinedOutput()
	if err != nil {
		t.Errorf("the tests on PostgreSQL: %v\n%s", err, output)
	} else if testing.Verbose() {
		t.Logf("the tests on PostgreSQL:\n%s", output)
	}
}

// New returns the URL of a new, empty database, which is removed when the test has ended: the path of a file that does not exist
// yet or, on PostgreSQL, postgres://….
func New(t testing.TB) (url string) {
	t.Helper()
	if !Postgres() {
		return filepath.Join(t.TempDir(), "test.db")
	}
	return create(t, os.Getenv(variable))
}

// Create is like [New], for examples, which have no testing.TB. The caller calls remove.
func Create() (url string, remove func(), err error) {
	if Postgres() {
		return createOn(os.Getenv(variable))
	}
	folder, err := os.MkdirTemp("", "databasetest")
	return filepath.Join(folder, "test.db"), func() { _ = os.RemoveAll(folder) }, err
}

// create creates a database on the server, and returns its URL.
func create(t testing.TB, server string) (url string) {
	t.Helper()
	url, remove, err := createOn(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	return url
}

func createOn(server string) (url string, remove func(), err error) {
	name := "test_" + strings.ToLower(rand.Text())
	// The server may have been stopped by the test. It is removed anyway.
	remove = func() { _ = execute(server, "DROP DATABASE "+name+" WITH (FORCE)") }
	return strings.Replace(server, "/postgres?", "/"+name+"?", 1), remove, execute(server, "CREATE DATABASE "+name)
}

// execute executes statements, each by itself.
func execute(url string, statements ...string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// SQLiteOnly ends a test that is about SQLite when the tests run on PostgreSQL.
func SQLiteOnly(t testing.TB) {
	t.Helper()
	if Postgres() {
		t.Skip("this is about SQLite")
	}
}
