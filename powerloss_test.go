//go:build linux

package main

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"entgo.io/ent/dialect"
)

// TestPowerLoss has the power fail at each moment of a run in which visitors record. From the run's system calls it builds what a
// disk may have at that moment: all that was flushed, and any part of the rest. Each time, the next start must find the database
// whole, with every message whose answer had left. It tries 6 of these states before each flush, or 200 with DAYBOOK_TEST_FAULTS=1,
// which is all unless many flushes fail.
func TestPowerLoss(t *testing.T) {
	t.Run("from an empty folder to the stop", func(t *testing.T) {
		d := runTraced(t, t.TempDir(), syscall.SIGTERM)
		if d.shared == 0 || d.checkpoints == 0 {
			t.Errorf("%d commits were shared, and the log was copied into the database %d times", d.shared, d.checkpoints)
		}
	})
	t.Run("checkpoint under load", func(t *testing.T) {
		folder := t.TempDir()
		fillLog(t, filepath.Join(folder, "daybook.db"))
		d := runTraced(t, folder, syscall.SIGKILL)
		if d.checkpoints == 0 || d.restarts == 0 {
			t.Errorf("the log was copied into the database %d times, and begun anew %d times", d.checkpoints, d.restarts)
		}
	})
	t.Run("flushes that fail", func(t *testing.T) {
		folder := t.TempDir()
		fillLog(t, filepath.Join(folder, "daybook.db"))
		if d := runTraced(t, folder, syscall.SIGKILL, "-e", "inject=fsync,fdatasync:error=EIO:when=2+4"); d.failed == 0 {
			t.Error("no flush has failed")
		}
	})
}

// filler is a message that is there before.
const filler = "xxxxxx"

// fillLog makes a database with a write-ahead log of nearly 1000 pages, at which the log is copied into the database. The log stays
// because the database, which it returns, stays open.
func fillLog(t *testing.T, path string) dialect.Driver {
	t.Helper()
	makeDatabase(t, path)
	fill(t, path, 1, len(filler))
	driver := openDatabase(t, path)
	for i := range 970 {
		statement := fmt.Sprintf("UPDATE messages SET folded = '%d'", i)
		if i == 0 {
			statement = "PRAGMA synchronous = OFF"
		}
		if err := driver.Exec(t.Context(), statement, []any{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	return driver
}

// runTraced runs a server under strace while visitors record, ends it with the signal, and has the power fail at each moment of that.
func runTraced(t *testing.T, folder string, signal os.Signal, options ...string) *disk {
	t.Helper()
	d := newDisk(t, folder)
	calls := filepath.Join(t.TempDir(), "calls")
	command := daybook(t, folder, "--listen=127.0.0.1:0")
	trace(t, command, calls, append(options, "-y", "-xx", "-s", "100000", "-e", systemCalls)...)
	log := filepath.Join(folder, "daybook.db-wal")
	before := headOf(log)
	s := serveCommand(t, command)
	v := visit(t, 8, 0, s)
	if len(options) == 0 {
		v.wait("messages are recorded", v.recorded, 40)
	} else {
		v.wait("messages are answered", v.answered, 60) // after a flush of the database has failed, nothing is recorded
	}
	if before != "" && len(options) == 0 { // otherwise no copy may succeed
		until(t, "the log is begun anew", func() bool { return headOf(log) != before })
	}
	v.stop()
	if err := s.command.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	<-s.log
	_ = s.command.Wait() // perhaps killed
	var trace []byte
	until(t, "strace has seen the end", func() bool {
		var err error
		if trace, err = os.ReadFile(calls); err != nil {
			t.Fatal(err)
		}
		return bytes.Contains(trace, fmt.Appendf(nil, "\n%-5d +++ ", s.command.Process.Pid))
	})
	v.told[filler] = http.StatusCreated
	d.sent = v.told
	d.replay(string(trace))
	for value, status := range v.told {
		if status == http.StatusCreated && value != filler && !d.acknowledged[value] {
			t.Errorf("strace has not seen the answer to %q", value)
		}
	}
	there := contentsOf(t, folder)
	for name := range d.live.names {
		if !bytes.Equal(there[name], d.live.content[name]) {
			t.Errorf("%s has %d bytes, and the replayed calls lead to %d others", name, len(there[name]), len(d.live.content[name]))
		}
	}
	if len(there) != len(d.live.names) {
		t.Errorf("there is %v, and the replayed calls lead to %v", slices.Collect(maps.Keys(there)), d.live.names)
	}
	t.Logf("%d messages acknowledged, %d flushes, %d of %d states tried", len(d.acknowledged), d.flushes, d.tried, d.states)
	return d
}

// headOf returns the head of a write-ahead log, which is another one when the log is begun anew.
func headOf(log string) string {
	content, _ := os.ReadFile(log) // there may be none
	return string(content[:min(32, len(content))])
}

// disk is the files of a folder, as a power failure may leave them. A sector has what was written, or what was there before: SQLite
// has checksums only in its log, and trusts the disk with the rest.
type disk struct {
	t       *testing.T
	folder  string
	sent    map[string]int // all messages
	rand    *rand.Rand
	live    files    // with all changes
	flushed files    // with those before the first one that is not flushed
	changes []change // from there on, in order
	done    int      // changes before that

	acknowledged    map[string]bool
	answers         int // since the last flush
	shared          int // flushes that were followed by several answers
	checkpoints     int // flushes of the database after it was written
	restarts        int // times that the log was begun anew
	flushes, failed int
	states, tried   int
}

// files are files of a folder. A file's content and its name in the folder are flushed each for itself.
type files struct {
	content map[string][]byte
	names   map[string]bool
}

// change is a system call that changes the content of a file, or its name.
type change struct {
	call, file string
	offset     int
	data       []byte
	flushed    bool
	lost       bool // a flush has failed: no later one reaches it (https://lwn.net/Articles/752063)
}

// sector is how many bytes a disk writes as a whole or not at all.
const sector = 512

// apply makes a change, or of what it writes only the sectors that are kept.
func (f files) apply(c change, keep func() bool) {
	content := f.content[c.file]
	switch c.call {
	case "openat":
		f.names[c.file] = true
	case "unlink":
		delete(f.names, c.file)
	case "ftruncate":
		f.content[c.file] = append(content, make([]byte, max(0, c.offset-len(content)))...)[:c.offset]
	case "pwrite64":
		content = append(content, make([]byte, max(0, c.offset+len(c.data)-len(content)))...)
		for from := 0; from < len(c.data); {
			to := min(len(c.data), from+sector-(c.offset+from)%sector)
			if keep() {
				copy(content[c.offset+from:], c.data[from:to])
			}
			from = to
		}
		f.content[c.file] = content
	}
}

func always() bool { return true }

// newDisk returns a disk that has the files which are there.
func newDisk(t *testing.T, folder string) *disk {
	t.Helper()
	d := &disk{t: t, folder: folder, rand: rand.New(rand.NewPCG(1, 2)), acknowledged: map[string]bool{}}
	d.flushed = files{contentsOf(t, folder), map[string]bool{}}
	for name := range d.flushed.content {
		d.flushed.names[name] = true
		d.acknowledged[filler] = true
	}
	d.live = files{contentsOf(t, folder), maps.Clone(d.flushed.names)}
	return d
}

// contentsOf returns the content of each file, but of SQLite's shared memory, which a start makes anew.
func contentsOf(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	content := map[string][]byte{}
	for _, name := range names(t, folder) {
		var err error
		if content[name], err = os.ReadFile(filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	delete(content, "daybook.db-shm")
	return content
}

// systemCalls are those that change files, and answer clients.
const systemCalls = "trace=openat,openat2,?open,?creat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync," +
	"sync_file_range,msync,mmap,?rename,renameat,renameat2,?link,linkat,symlinkat,?unlink,unlinkat,sendfile,copy_file_range,splice"

// A line of strace has a system call, or its begin or its end. Names and data are in hexadecimal.
var (
	callLine   = regexp.MustCompile(`^(\d+) +(?:(\w+)\(|<\.\.\. \w+ resumed>)(.*)$`)
	callText   = regexp.MustCompile(`["<]((?:\\x[0-9a-f]{2})+)[">]`)
	callNumber = regexp.MustCompile(`(\d+)(?:\)| <unfinished)`) // the last argument
	callResult = regexp.MustCompile(`\) += (\S+)`)
)

// replay makes the changes of a trace, and has the power fail before each flush.
func (d *disk) replay(trace string) {
	flushing := map[string]flush{} // by thread
	for line := range strings.Lines(trace) {
		parts := callLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if parts == nil {
			continue // a signal, or the end of a thread
		}
		thread, call, rest := parts[1], parts[2], parts[3]
		if call != "" {
			flushing[thread] = d.begin(call, rest)
		}
		if f, result := flushing[thread], callResult.FindStringSubmatch(rest); f.file != "" && result != nil {
			d.fail()
			d.flush(f, result[1] == "0")
		}
	}
	d.fail()
}

// flush is a flush of a file, or of the names in the folder, which makes durable what was written when it began.
type flush struct {
	file    string
	changes int
}

// begin makes the change of a system call. If that is a flush, its end makes it durable.
func (d *disk) begin(call, arguments string) (f flush) {
	var texts []string
	for _, text := range callText.FindAllStringSubmatch(arguments, -1) {
		decoded, err := strconv.Unquote(`"` + text[1] + `"`)
		if err != nil {
			d.t.Fatal(err)
		}
		texts = append(texts, decoded)
	}
	if len(texts) > 1 && strings.HasSuffix(call, "at") {
		texts = texts[1:] // after the folder to which it is relative
	}
	if len(texts) == 0 {
		return f
	}
	if strings.HasPrefix(texts[0], "socket:") && len(texts) > 1 {
		d.answer(texts[1])
	}
	file, inside := strings.CutPrefix(texts[0], d.folder)
	if file = strings.TrimPrefix(file, "/"); !inside || file == "daybook.db-shm" {
		return f
	}
	c := change{call: call, file: file}
	switch call {
	case "fsync", "fdatasync":
		return flush{texts[0], d.done + len(d.changes)}
	case "openat":
		if !strings.Contains(arguments, "O_CREAT") || d.live.names[file] {
			return f
		}
	case "unlink":
	case "pwrite64":
		c.data = []byte(texts[1])
		c.offset, _ = strconv.Atoi(callNumber.FindStringSubmatch(arguments)[1])
	case "ftruncate":
		c.offset, _ = strconv.Atoi(callNumber.FindStringSubmatch(arguments)[1])
	default:
		d.t.Errorf("%s(%.200s is not simulated", call, arguments)
	}
	if file == "daybook.db-wal" && c.offset == 0 && len(d.live.content[file]) > 0 && call == "pwrite64" {
		d.restarts++
	}
	d.changes = append(d.changes, c)
	d.live.apply(c, always)
	return f
}

// answer notes what a client is told.
func (d *disk) answer(text string) {
	if _, body, _ := strings.Cut(text, "\r\n\r\n"); strings.HasPrefix(text, "HTTP/1.1 201") {
		d.acknowledged[strings.TrimSuffix(strings.TrimPrefix(body, "Recorded: "), "\n")] = true
		if d.answers++; d.answers == 2 {
			d.shared++
		}
	}
}

// flush makes durable what a flush covers, unless it has failed.
func (d *disk) flush(f flush, done bool) {
	d.flushes++
	d.answers = 0
	if !done {
		d.failed++
	}
	database := false
	for i, c := range d.changes[:f.changes-d.done] {
		names := c.call == "openat" || c.call == "unlink"
		covered := names && f.file == d.folder || !names && f.file == filepath.Join(d.folder, c.file)
		if covered && !c.flushed && !c.lost {
			d.changes[i].flushed, d.changes[i].lost = done, !done
			database = database || done && c.file == "daybook.db"
		}
	}
	if database {
		d.checkpoints++
	}
	for len(d.changes) > 0 && d.changes[0].flushed {
		d.flushed.apply(d.changes[0], always)
		d.changes, d.done = d.changes[1:], d.done+1
	}
}

// What a power failure leaves of a change.
const (
	nothing = iota
	everything
	some // sectors
)

// fail has the power fail. Whatever of the last changes was there at an earlier moment since the last flush may be there now, too.
func (d *disk) fail() {
	var unflushed []int
	for i, c := range d.changes {
		if !c.flushed {
			unflushed = append(unflushed, i)
		}
	}
	n := len(unflushed)
	states := [][]int{slices.Repeat([]int{nothing}, n), slices.Repeat([]int{everything}, n)}
	for i := range n {
		for _, before := range []int{nothing, everything} {
			for _, here := range []int{nothing, everything, some} {
				for _, after := range []int{nothing, everything} {
					states = append(states, slices.Concat(slices.Repeat([]int{before}, i), []int{here}, slices.Repeat([]int{after}, n-i-1)))
				}
			}
		}
	}
	for range 4 * min(n, 8) {
		state := make([]int, n)
		for i := range state {
			state[i] = d.rand.IntN(3)
		}
		states = append(states, state)
	}
	d.states += len(states)
	rest, most := states[2:], 6
	if long {
		most = 200
	}
	d.rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	states = states[:min(len(states), most)]
	for _, state := range states {
		left := map[int]int{}
		for i, part := range state {
			left[unflushed[i]] = part
		}
		if err := d.start(left); err != nil {
			d.t.Errorf("after %d flushes, with %d messages acknowledged, of %d changes %.100v survive: %v",
				d.flushes, len(d.acknowledged), n, state, err)
			return
		}
	}
}

// start starts on what is left of the changes that were not flushed.
func (d *disk) start(left map[int]int) error {
	d.tried++
	f := files{map[string][]byte{}, maps.Clone(d.flushed.names)}
	for name, content := range d.flushed.content {
		f.content[name] = slices.Clone(content)
	}
	for i, c := range d.changes {
		if left[i] != nothing || c.flushed {
			f.apply(c, func() bool { return left[i] != some || d.rand.IntN(2) == 0 })
		}
	}
	folder, err := os.MkdirTemp("/dev/shm", "daybook") // in memory, where a flush takes no time
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	for name := range f.names {
		if err := os.WriteFile(filepath.Join(folder, name), f.content[name], 0o600); err != nil {
			return err
		}
	}
	times, err := readBook(d.t.Context(), filepath.Join(folder, "daybook.db"))
	if err != nil {
		return err
	}
	for value := range d.acknowledged {
		if times[value] != 1 {
			return fmt.Errorf("%q was acknowledged, and is there %d times", value, times[value])
		}
	}
	for value, n := range times {
		if _, sent := d.sent[value]; !sent || n > 1 {
			return fmt.Errorf("%q is there %d times; was it sent: %t", value, n, sent)
		}
	}
	return nil
}
