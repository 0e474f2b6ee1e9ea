//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"daybook/database/databasetest"
)

// bouncerSettings are those that docs/operating.md names, for a pool of a few connections, so that clients share them.
const bouncerSettings = `
pool_mode = transaction
ignore_startup_parameters = lock_timeout, idle_in_transaction_session_timeout
default_pool_size = 8
max_client_conn = 1000
query_wait_timeout = 5
server_login_retry = 1
`

// bounce starts a PgBouncer in front of the server of a database, and returns the database's URL there. If PgBouncer is not on this
// machine, the test is skipped, or fails if DAYBOOK_TEST_STRICT is 1.
func bounce(t *testing.T, database, settings string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/pgbouncer") // which is not in everybody's PATH
	}
	if err != nil && os.Getenv("DAYBOOK_TEST_STRICT") != "1" {
		t.Skip("there is no PgBouncer here; install it, for example with: apt install pgbouncer")
	}
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("", "pgbouncer") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	for name, text := range map[string]string{
		"users": `"postgres" ""` + "\n",
		"ini": fmt.Sprintf("[databases]\n* = host=%s\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\nunix_socket_dir = %s\n"+
			"auth_type = trust\nauth_file = %s/users\n%s", target.Query().Get("host"), folder, folder, settings),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	command := exec.Command(program, filepath.Join(folder, "ini"))
	command.Stdout, command.Stderr = &log, &log
	if os.Getuid() == 0 { // whom it refuses
		command.SysProcAttr = &syscall.SysProcAttr{Credential: credential(t, "postgres")}
		if err := os.Chown(folder, int(command.SysProcAttr.Credential.Uid), -1); err != nil {
			t.Fatal(err)
		}
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Logf("PgBouncer:\n%s", tail(log.String(), 30))
		}
	})
	bounced := fmt.Sprintf("postgres://postgres@%s?host=%s&port=6432", target.Path, folder)
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := pgx.Connect(t.Context(), bounced)
		if err == nil {
			conn.Close(t.Context())
			return bounced
		}
		if time.Now().After(limit) {
			t.Fatal(err)
		}
	}
}

// tail returns the last lines of a text.
func tail(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// credential returns that of the user, or of nobody.
func credential(t *testing.T, name string) *syscall.Credential {
	t.Helper()
	account, err := user.Lookup(name)
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// TestThroughPgBouncer runs instances through a PgBouncer that gives them a connection for each transaction, as docs/operating.md
// says how.
func TestThroughPgBouncer(t *testing.T) {
	t.Parallel()
	postgres := databasetest.Start(t)
	bounced := func(t *testing.T) (through, direct string) {
		direct = postgres.New(t)
		return bounce(t, direct, bouncerSettings) + "&default_query_exec_mode=exec", direct
	}
	t.Run("ten start at once", func(t *testing.T) {
		through, direct := bounced(t)
		var greetings []*bufio.Reader
		for range 10 {
			command := daybook(t, t.TempDir(), "--listen=127.0.0.1:0", "--database="+through)
			pipe, err := command.StderrPipe()
			if err == nil {
				err = command.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = command.Process.Kill()
				_ = command.Wait()
			})
			greetings = append(greetings, bufio.NewReader(pipe))
		}
		for _, greeting := range greetings {
			if line, _ := greeting.ReadString('\n'); !address.MatchString(line) {
				t.Errorf("it has not started: %s", line)
			}
		}
		const doubled = "SELECT version FROM applied_migrations GROUP BY version HAVING count(*) > 1"
		if rows := texts(t, direct, doubled); len(rows) > 0 {
			t.Errorf("applied twice: %v", rows)
		}
	})
	for _, mode := range []string{"exec", "cache_describe"} {
		t.Run("many record, "+mode, func(t *testing.T) {
			direct := postgres.New(t)
			through := bounce(t, direct, bouncerSettings) + "&default_query_exec_mode=" + mode
			r := record(t, 64, instances(t, 2, through)...)
			took := r.wait(2000)
			recorded := r.stop()
			if len(r.refused) > 0 {
				t.Errorf("refused %v", r.refused)
			}
			t.Logf("%.0f a second, the slowest answer took %s", 2000/took.Seconds(), r.slowest)
			checkMessages(t, direct, recorded)
		})
	}
	t.Run("record here, read there", func(t *testing.T) {
		through, _ := bounced(t)
		recordHereReadThere(t, through)
	})
	t.Run("the same key at two instances", func(t *testing.T) {
		through, _ := bounced(t)
		sameKeyAtTwoInstances(t, through)
	})
	t.Run("followers", func(t *testing.T) {
		through, direct := bounced(t)
		followThroughPgBouncer(t, through, direct)
	})
	t.Run("the server restarts", func(t *testing.T) {
		through, direct := bounced(t)
		databaseServerRestarts(t, postgres, direct, through, 10*time.Second)
	})
}

// followThroughPgBouncer follows at one instance what another one records. LISTEN does not work, so it looks each second.
func followThroughPgBouncer(t *testing.T, through, direct string) {
	servers := instances(t, 2, through)
	messages := followInOrder(t, servers[0], servers[1], direct)
	var slowest time.Duration
	for i := range 10 {
		value := fmt.Sprint("message ", i)
		if status, _ := servers[0].post(value); status != http.StatusCreated {
			t.Fatal(status)
		}
		recorded := time.Now()
		next(t, messages, value)
		slowest = max(slowest, time.Since(recorded))
	}
	if slowest > 3*time.Second {
		t.Errorf("a message came after %s", slowest)
	}
	t.Logf("the slowest message came after %s", slowest)
}

// followInOrder follows at one instance what another one records, while a transaction is open that has taken a smaller number. It
// returns the lines that come afterwards.
func followInOrder(t *testing.T, recording, following *process, direct string) <-chan string {
	t.Helper()
	messages := followLines(t, following)
	if status, _ := recording.post("first"); status != http.StatusCreated {
		t.Fatal(status)
	}
	next(t, messages, "first")
	slow, err := openDatabase(t, direct).Tx(t.Context())
	if err == nil {
		err = slow.Exec(t.Context(), "INSERT INTO messages (value, recorded_at) VALUES ('slow', now())", []any{}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := recording.post("fast"); status != http.StatusCreated {
		t.Fatal(status)
	}
	select {
	case line := <-messages:
		t.Errorf("%q came before the message with the smaller number", line)
	case <-time.After(1500 * time.Millisecond): // in which the hub looks
	}
	if err := slow.Commit(); err != nil {
		t.Fatal(err)
	}
	next(t, messages, "slow")
	next(t, messages, "fast")
	return messages
}

// followLines follows from now on, and returns the lines as they come.
func followLines(t *testing.T, s *process) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan string)
	go func() {
		defer response.Body.Close()
		for scanner := bufio.NewScanner(response.Body); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	return lines
}

// next sees that the next line has the message.
func next(t *testing.T, lines <-chan string, value string) {
	t.Helper()
	select {
	case line := <-lines:
		if !strings.HasSuffix(line, "\t"+value) {
			t.Fatalf("%q came, want %q", line, value)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("%q has not come", value)
	}
}

// texts returns what a query of one column finds.
func texts(t *testing.T, url, query string) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return found
}
