//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	entsql "entgo.io/ent/dialect/sql"
	"golang.org/x/sys/unix"
)

// maxMessage allows messages as large as any visitor's.
const maxMessage = "--max-message=8388608"

// long is whether the long form of the tests is asked for.
var long = os.Getenv("DAYBOOK_TEST_FAULTS") != ""

// hang is longer than any answer may take: 5 seconds for a turn to write, three times, and as long for another process's lock.
const hang = 30 * time.Second

// visitors record and list until they are stopped, and keep what they were told. Every other one sends idempotency keys.
type visitors struct {
	t       *testing.T
	client  http.Client
	running sync.WaitGroup
	stopped atomic.Bool

	mu      sync.Mutex
	told    map[string]int // of each message, the status of the answer, or 0 if it is not known whether it was recorded
	answers map[string]int // how often which other answer than success was given
}

// visit begins with n visitors, who record messages of a little more than size bytes. With several servers, they take them by turns.
func visit(t *testing.T, n, size int, servers ...*process) *visitors {
	v := &visitors{t: t, client: http.Client{Timeout: hang, Transport: &http.Transport{}}, told: map[string]int{}, answers: map[string]int{}}
	t.Cleanup(v.stop) // or they would visit a server of a later test that has the same port
	for i := range n {
		url := servers[i%len(servers)].url
		v.running.Go(func() {
			for j := 0; !v.stopped.Load(); j++ {
				v.record(url, fmt.Sprintf("%s %d %d%s", []string{"plain", "keyed"}[i/len(servers)%2], i, j, strings.Repeat(".", size)))
				if v.ask(http.MethodGet, url, "") == 0 {
					time.Sleep(10 * time.Millisecond) // it is away
				}
			}
		})
	}
	return v
}

// record records a message.
func (v *visitors) record(url, value string) (status int) {
	status = v.ask(http.MethodPost, url+"/record", value)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.told[value] = status
	return status
}

// detail is where an answer names the line of the log.
var detail = regexp.MustCompile(` The server's log has the details under \w+\.`)

// ask sends a request, and returns the status of its answer, or 0 if there is none, or one that says that the outcome is not known.
func (v *visitors) ask(method, url, value string) (status int) {
	request, err := http.NewRequest(method, url, strings.NewReader(value))
	if err != nil {
		v.t.Error(err)
		return 0
	}
	if strings.HasPrefix(value, "keyed") {
		request.Header.Set("Idempotency-Key", strings.TrimRight(value, "."))
	}
	response, err := v.client.Do(request)
	var body []byte
	if err == nil {
		body, err = io.ReadAll(response.Body)
		response.Body.Close()
	}
	answer := "none"
	if timeout, ok := err.(interface{ Timeout() bool }); ok && timeout.Timeout() {
		answer = "none in time"
		v.t.Errorf("%s %s: %v", method, url, err)
	}
	if err == nil {
		status = response.StatusCode
		answer = fmt.Sprint(status, " ", detail.ReplaceAllString(string(body), " [id]"))
	}
	if strings.HasPrefix(string(body), "It is not known") {
		status = 0
	}
	if status != http.StatusOK && status != http.StatusCreated {
		v.mu.Lock()
		v.answers[method+" "+answer]++
		v.mu.Unlock()
	}
	return status
}

// recorded returns how many were told that their message is recorded.
func (v *visitors) recorded() (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, status := range v.told {
		if status == http.StatusCreated {
			n++
		}
	}
	return n
}

// answered returns how many messages were sent, and answered if the server is there.
func (v *visitors) answered() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.told)
}

// wait waits for so many more.
func (v *visitors) wait(what string, count func() int, more int) {
	v.t.Helper()
	before := count()
	until(v.t, what, func() bool { return count() >= before+more })
}

// until waits until the condition holds.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for limit := time.Now().Add(2 * hang); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// stop ends the visits.
func (v *visitors) stop() {
	v.stopped.Store(true)
	v.running.Wait()
	v.client.CloseIdleConnections()
}

// compare compares what the visitors were told with what is there.
func (v *visitors) compare(path string) {
	v.t.Helper()
	times, err := readBook(v.t.Context(), path)
	if err != nil {
		v.t.Fatal(err)
	}
	for value, n := range times {
		if _, sent := v.told[value]; !sent || n > 1 {
			v.t.Errorf("%q is there %d times; was it sent: %t", value, n, sent)
		}
	}
	for value, status := range v.told {
		switch n := times[value]; {
		case status == http.StatusCreated && n != 1, status >= http.StatusBadRequest && n != 0:
			v.t.Errorf("%q was answered %d, and is there %d times", value, status, n)
		}
	}
}

// after checks the book of a server that has ended: that it has what was acknowledged, and nothing that was refused, and that a
// message that is repeated with its key is recorded once.
func (v *visitors) after(folder string) {
	v.t.Helper()
	path := filepath.Join(folder, "daybook.db")
	v.compare(path)
	s := serveIn(v.t, folder, "--listen=127.0.0.1:0", maxMessage)
	for value, before := range v.told {
		if strings.HasPrefix(value, "keyed") && before != http.StatusCreated {
			if status := v.record(s.url, value); status != http.StatusCreated {
				v.t.Errorf("%q was answered %d, and then %d", value, before, status)
			}
		}
	}
	v.client.CloseIdleConnections()
	s.stop(syscall.SIGTERM)
	v.compare(path)
}

// kill ends the server as a crash does, and returns what it has logged.
func (s *process) kill() (log string) {
	s.t.Helper()
	if err := s.command.Process.Kill(); err != nil {
		s.t.Error(err)
	}
	log = <-s.log
	_ = s.command.Wait() // killed
	return log
}

// TestSystemCallsFail has a system call of SQLite's fail in a server with visitors, and then kills the server. A sample of the calls
// and errors, or with DAYBOOK_TEST_FAULTS=1 many of them.
func TestSystemCallsFail(t *testing.T) {
	need(t, "strace")
	for _, fault := range faults() {
		t.Run(fault, func(t *testing.T) {
			folder := t.TempDir()
			s := serveIn(t, folder, "--listen=127.0.0.1:0")
			v := visit(t, 8, 0, s)
			v.wait("messages are recorded", v.recorded, 20)
			stop := inject(t, s, fault, ofDatabase(filepath.Join(folder, "daybook.db"))...)
			v.wait("messages are answered", v.answered, 100)
			injected := stop()
			v.wait("recording goes on", v.recorded, 20)
			stop = inject(t, s, fault, ofDatabase(filepath.Join(folder, "daybook.db"))...)
			v.wait("messages are answered", v.answered, 100)
			s.kill()
			v.stop()
			injected += stop()
			v.after(folder)
			t.Logf("%d failed; %d recorded, %v", injected, v.recorded(), v.answers)
		})
	}
}

// TestFlushOfACommitFails has the flush of a COMMIT fail, and that of the empty commit that is written over it, too.
func TestFlushOfACommitFails(t *testing.T) {
	need(t, "strace")
	folder := t.TempDir()
	s := serveIn(t, folder, "--listen=127.0.0.1:0")
	stop := inject(t, s, "fsync,fdatasync:error=EIO", ofDatabase(filepath.Join(folder, "daybook.db"))...)
	if status, body := s.post("unknown"); status != http.StatusInternalServerError || !strings.HasPrefix(body, "It is not known") {
		t.Errorf("answered %d %s", status, body)
	}
	stop()
	if status, body := s.post("after"); status != http.StatusCreated {
		t.Errorf("when the flush succeeds again, answered %d %s", status, body)
	}
	s.kill()
	checkBook(t, filepath.Join(folder, "daybook.db"), map[string]bool{"after": true})
}

func faults() (all []string) {
	if !long {
		return []string{"fsync:error=EIO:when=3+3", "fsync:error=EIO", "pwrite64:error=EIO:when=4+5", "statx:error=EIO:when=5+5"}
	}
	for _, call := range []string{"pwrite64", "fsync", "pread64", "statx"} {
		for _, number := range []string{"ENOSPC", "EIO"} {
			for _, when := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "3+3", "7+5", "1+"} {
				all = append(all, fmt.Sprintf("%s:error=%s:when=%s", call, number, when))
			}
		}
	}
	return all
}

// TestSystemCallsFailAtAStart has each of the first system calls fail in its turn, while a database is opened, one message is imported,
// and the database is closed: a sample of the calls, or all with DAYBOOK_TEST_FAULTS=1.
func TestSystemCallsFailAtAStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "daybook.db")
	makeDatabase(t, path)
	most, step := 40, 24
	if long {
		step = 1
	}
	v := &visitors{t: t, told: map[string]int{}}
	said := map[string]int{}
	for _, call := range []string{"openat", "pread64", "pwrite64", "fsync", "ftruncate", "fcntl", "statx", "newfstatat", "unlink", "mmap"} {
		for n := 1; n <= most; n += step {
			value := fmt.Sprint(call, " ", n)
			command := daybook(t, t.TempDir(), "import", "--database="+path)
			calls := filepath.Join(t.TempDir(), "calls")
			trace(t, command, calls, append(ofDatabase(path), "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:error=EIO:when=%d", call, n))...)
			command.Stdin = strings.NewReader(exportLine(len(v.told)+1, value))
			output, err := command.CombinedOutput()
			if v.told[value] = 0; err == nil {
				v.told[value] = http.StatusCreated
			}
			if strings.Count(string(output), "\n") != 1 {
				t.Errorf("%s: it said %s", value, output)
			}
			said[strings.ReplaceAll(string(output), path, "[path]")]++
			v.compare(path)
		}
	}
	t.Log(said)
}

// ofDatabase are strace's options for the system calls that concern the database at path.
func ofDatabase(path string) []string {
	return []string{"-P", path, "-P", path + "-wal", "-P", path + "-shm"}
}

// inject makes system calls of the server fail where they concern the files. It returns what ends that, and counts the failures.
func inject(t *testing.T, s *process, fault string, files ...string) (stop func() (injected int)) {
	t.Helper()
	calls := filepath.Join(t.TempDir(), "calls")
	call, _, _ := strings.Cut(fault, ":")
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.command.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command("strace", append(files,
		"-f", "-o", calls, "-p", fmt.Sprint(s.command.Process.Pid), "-e", "trace="+call, "-e", "inject="+fault)...)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads { // it attaches to one after another
		until(t, "strace is there", func() bool {
			status, err := os.ReadFile(thread)
			return err != nil || !strings.Contains(string(status), "TracerPid:\t0\n")
		})
	}
	return func() int {
		_ = command.Process.Signal(syscall.SIGINT) // fails if it has ended
		_ = command.Wait()
		log, err := os.ReadFile(calls)
		if err != nil {
			t.Error(err)
		}
		return strings.Count(string(log), "(INJECTED)")
	}
}

// TestFlushOfTheDatabaseFails has the flush of the database fail when the log is copied into it. A part was copied before, without a
// flush, because a reader needed the rest. What the disk has then lost of that part, only a new process copies again.
func TestFlushOfTheDatabaseFails(t *testing.T) {
	need(t, "strace")
	folder := t.TempDir()
	path := filepath.Join(folder, "daybook.db")
	other := fillLog(t, path)
	var reader entsql.Rows
	if err := other.Query(t.Context(), "SELECT id FROM messages", []any{}, &reader); err != nil || !reader.Next() {
		t.Fatal(err, reader.Err())
	}
	s := serveIn(t, folder, "--listen=127.0.0.1:0")
	v := visit(t, 8, 0, s)
	v.wait("the log is copied up to what the reader needs", v.recorded, 300) // at most 8 in a commit, which has 2 pages at least
	stop := inject(t, s, "fsync,fdatasync:error=EIO", "-P", path)
	if err := errors.Join(reader.Close(), other.Close()); err != nil {
		t.Fatal(err)
	}
	v.wait("messages are refused", func() int { return v.answered() - v.recorded() }, 20)
	if stop() != 1 {
		t.Error("the flush was tried again")
	}
	if status := v.record(s.url, "plain and late"); status != http.StatusInternalServerError {
		t.Errorf("the next message is answered %d", status)
	}
	if status := v.ask(http.MethodGet, s.url+"/readyz", ""); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz is answered %d", status)
	}
	v.stop()
	if log := s.stop(syscall.SIGTERM); !strings.Contains(log, "a flush of the database's file has failed: "+path) {
		t.Errorf("the log does not say it:\n%s", log)
	}
	if size(t, path+"-wal") == 0 {
		t.Error("the stop has emptied the write-ahead log")
	}
	t.Logf("%d recorded, %v", v.recorded(), v.answers)
	v.told[filler] = http.StatusCreated
	v.after(folder)
}

// TestFlushOfTheDatabaseFailsForAWhile has the same while nobody reads: nothing was copied before, so the next copy is of all of the
// log again, and recording goes on.
func TestFlushOfTheDatabaseFailsForAWhile(t *testing.T) {
	need(t, "strace")
	folder := t.TempDir()
	path := filepath.Join(folder, "daybook.db")
	other := fillLog(t, path)
	s := serveIn(t, folder, "--listen=127.0.0.1:0")
	stop := inject(t, s, "fsync,fdatasync:error=EIO", "-P", path)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[string]bool{filler: true}
	for i := range 100 {
		acknowledged[fmt.Sprint(i)] = true
		if status, body := s.post(fmt.Sprint(i)); status != http.StatusCreated {
			t.Fatalf("answered %d %s", status, body)
		}
	}
	if stop() < 2 {
		t.Error("the flush was not tried again")
	}
	s.stop(syscall.SIGTERM)
	if files := names(t, folder); len(files) != 1 {
		t.Errorf("the stop has left %q", files)
	}
	checkBook(t, path, acknowledged)
}

// TestFilesAreTakenAway takes away what a server with visitors has open. Who asks after that is refused, /readyz says so, and the log
// has the name. Whatever was recorded before is still there if the files are.
func TestFilesAreTakenAway(t *testing.T) {
	replace := func(path string) error {
		return errors.Join(os.Remove(path), os.WriteFile(path, []byte("another"), 0o600))
	}
	away := func(path string) error { return os.Rename(path, path+".away") }
	back := func(path string) error { return os.Rename(path+".away", path) }
	inFolder := func(do func(string) error) func(string) error {
		return func(path string) error { return do(filepath.Dir(path)) }
	}
	of := func(do func(string) error, suffix string) func(string) error {
		return func(path string) error { return do(path + suffix) }
	}
	expected := regexp.MustCompile(`^(GET 503 The database cannot be reached\.|POST 50[03] (` +
		`The database's file was moved or replaced, so nothing can be changed\.|It is not known whether the message was recorded, .*) \[id\])\n$`)
	for name, test := range map[string]struct{ take, bring func(path string) error }{
		"file deleted":   {os.Remove, nil},
		"file renamed":   {away, back},
		"file replaced":  {replace, nil},
		"log deleted":    {of(os.Remove, "-wal"), nil},
		"log renamed":    {of(away, "-wal"), of(back, "-wal")},
		"index deleted":  {of(os.Remove, "-shm"), func(string) error { return nil }},
		"index replaced": {of(replace, "-shm"), of(os.Remove, "-shm")},
		"folder deleted": {inFolder(os.RemoveAll), nil},
		"folder renamed": {inFolder(away), inFolder(back)},
	} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "folder")
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(folder, "daybook.db")
			s := serveIn(t, t.TempDir(), "--listen=127.0.0.1:0", "--database="+path)
			v := visit(t, 8, 0, s)
			v.wait("messages are recorded", v.recorded, 20)
			if err := test.take(path); err != nil {
				t.Fatal(err)
			}
			if status := v.record(s.url, "plain and late"); status != http.StatusInternalServerError {
				t.Errorf("the next message is answered %d", status)
			}
			if status := v.ask(http.MethodGet, s.url+"/readyz", ""); status != http.StatusServiceUnavailable {
				t.Errorf("/readyz is answered %d", status)
			}
			v.stop()
			for answer := range v.answers {
				if !expected.MatchString(answer) {
					t.Errorf("answered %s", answer)
				}
			}
			if log := s.kill(); !strings.Contains(log, "was deleted, renamed or replaced while it was open: "+path) {
				t.Errorf("the log does not say it:\n%s", log)
			}
			if test.bring == nil {
				return
			}
			if err := test.bring(path); err != nil {
				t.Fatal(err)
			}
			v.after(folder)
		})
	}
}

// TestFilesAreMadeReadOnly forbids everybody to change the log, or the file, too, while visitors record, and then allows it again.
func TestFilesAreMadeReadOnly(t *testing.T) {
	for name, suffixes := range map[string][]string{"log": {"-wal"}, "file and log": {"", "-wal"}} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			s := serveIn(t, folder, "--listen=127.0.0.1:0")
			v := visit(t, 8, 0, s)
			v.wait("messages are recorded", v.recorded, 20)
			setReadOnly := func(readOnly bool) (err error) {
				for _, suffix := range suffixes {
					err = errors.Join(err, setImmutable(filepath.Join(folder, "daybook.db"+suffix), readOnly))
				}
				return err
			}
			defer setReadOnly(false) // otherwise the folder cannot be removed
			if err := setReadOnly(true); err != nil {
				t.Skipf("files cannot be made immutable here, for which one has to be root, on ext4 for example: %v", err)
			}
			v.wait("messages are refused", func() int { return v.answered() - v.recorded() }, 20)
			if err := setReadOnly(false); err != nil {
				t.Fatal(err)
			}
			v.wait("recording goes on", v.recorded, 20)
			s.kill()
			v.stop()
			t.Logf("%d recorded, %v", v.recorded(), v.answers)
			v.after(folder)
		})
	}
}

// setImmutable sets or clears the flag with which nobody can change a file, not even through a descriptor that is open: chattr +i.
func setImmutable(path string, immutable bool) error {
	const flag = 0x10 // FS_IMMUTABLE_FL
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	flags, err := unix.IoctlGetInt(int(file.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return err
	}
	flags &^= flag
	if immutable {
		flags |= flag
	}
	return unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, flags)
}

// TestIndexOfTheLogIsDeleted has other processes write after the index was deleted, which do not see the server's locks then. Neither
// the server nor its stop may undo that.
func TestIndexOfTheLogIsDeleted(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "daybook.db")
	s := serveIn(t, folder, "--listen=127.0.0.1:0")
	v := visit(t, 8, 0, s)
	v.wait("messages are recorded", v.recorded, 20)
	if err := os.Remove(path + "-shm"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		value := fmt.Sprint("imported ", i)
		if status, _, stderr := transfer(t, exportLine(1000+i, value), "import", "--database="+path); status != 0 {
			t.Fatal(stderr)
		}
		v.mu.Lock()
		v.told[value] = http.StatusCreated
		v.mu.Unlock()
	}
	v.stop()
	s.stop(syscall.SIGTERM)
	v.after(folder)
}
