//go:build unix

package main

import (
	"errors"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"daybook/database/databasetest"
)

// TestRefusedStartOnPostgreSQL has servers and databases on which Daybook must not start. Each sentence is one line that says what to
// do, without the password.
func TestRefusedStartOnPostgreSQL(t *testing.T) {
	postgres := databasetest.Start(t)
	postgres.Execute(t,
		"CREATE ROLE visitor LOGIN",
		"CREATE DATABASE daybook",
		"CREATE DATABASE newer",
		"CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0",
	)
	at := func(user, name string) string { // the server takes any password
		return strings.NewReplacer("postgres@/postgres", user+":s3cr3t@/"+name).Replace(postgres.URL("postgres"))
	}
	instances(t, 1, at("postgres", "newer"))[0].stop(syscall.SIGTERM)
	conn, err := pgx.Connect(t.Context(), at("postgres", "newer"))
	if err == nil {
		_, err = conn.Exec(t.Context(), "INSERT INTO applied_migrations VALUES ('1000', 'later', '')")
		err = errors.Join(err, conn.Close(t.Context()))
	}
	if err != nil {
		t.Fatal(err)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	wrongPassword := denyPassword(t)
	for _, test := range []struct{ name, url, sentence string }{
		{"nobody there", "postgres://postgres:s3cr3t@" + nobody + "/daybook", "cannot connect to PostgreSQL: check the URL, and that the server runs (" + nobody},
		{"no socket", "postgres://postgres:s3cr3t@/daybook?host=/nowhere", "cannot connect to PostgreSQL: check the URL, and that the server runs (/nowhere/.s.PGSQL.5432"},
		{"a wrong password", "postgres://anna:s3cr3t@" + wrongPassword + "/daybook", `password authentication failed for user "anna": check the user and the password`},
		{"no database", at("postgres", "none"), `database "none" does not exist: create it, with the owner postgres and ENCODING 'UTF8'`},
		{"no rights", at("visitor", "daybook"), "permission denied for schema public (SQLSTATE 42501): let the owner of the database start this version once"},
		{"another encoding", at("postgres", "latin"), "the database latin has the encoding LATIN1: create one with ENCODING 'UTF8' TEMPLATE template0"},
		{"a newer database", at("postgres", "newer"), "postgres:///newer: the database was written by a newer version of this program (schema 1000, this one knows"},
		{"a slash in the password", "postgres://anna:s3cr3t/s3cr3t@localhost/daybook", "the URL cannot be read: write postgres://USER:PASSWORD@HOST:5432/DATABASE"},
		{"a per cent sign in the password", "postgres://anna:s3cr3t%s3cr3t@localhost/daybook", "the URL cannot be read: write postgres://USER:PASSWORD@HOST:5432/DATABASE"},
		{"a wrong parameter", "postgres://localhost/daybook?password=s3cr3t&pool_max_conns=many", "the parameters of the URL are wrong: cannot parse pool_max_conns"},
		{"an unknown parameter", at("postgres", "daybook") + "&lock_timeot=1", `the PostgreSQL server refused the connection: unrecognized configuration parameter "lock_timeot"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			output, err := daybook(t, t.TempDir(), "DAYBOOK_LISTEN=127.0.0.1:0", "DAYBOOK_DATABASE="+test.url).CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("it ended with %v, want 1", err)
			}
			if !strings.Contains(string(output), test.sentence) || strings.Count(string(output), "\n") != 1 {
				t.Errorf("it said\n%s\nwant\n%s", output, test.sentence)
			}
			if strings.Contains(string(output), "s3cr3t") || strings.Contains(string(output), `\u`) {
				t.Errorf("it shows the password, or escapes: %s", output)
			}
		})
	}
}

// denyPassword listens at an address, and answers each client as PostgreSQL does to a wrong password. It returns the address.
func denyPassword(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go deny(conn)
		}
	}()
	return listener.Addr().String()
}

// deny is the server's side of one connection.
func deny(conn net.Conn) {
	defer conn.Close()
	server := pgproto3.NewBackend(conn, conn)
	message, err := server.ReceiveStartupMessage()
	if _, wanted := message.(*pgproto3.SSLRequest); wanted {
		if _, err = conn.Write([]byte("N")); err == nil {
			_, err = server.ReceiveStartupMessage()
		}
	}
	if err != nil {
		return // it has tried TLS, and connects again without
	}
	server.Send(&pgproto3.AuthenticationCleartextPassword{})
	if server.Flush() != nil {
		return
	}
	if _, err := server.Receive(); err != nil {
		return
	}
	server.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "28P01",
		Message: `password authentication failed for user "anna"`})
	_ = server.Flush() // fails only if the client has left
}
