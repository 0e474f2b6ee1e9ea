package transaction_test

import (
	"bufio"
	"context"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"daybook/database/databasetest"
)

// notes is another application: a module with an ent schema of its own, which imports daybook through a replace directive.
const notes = "testdata/notes"

// TestOtherApplication does with notes what its author would: vet, test, build, run and generate.
func TestOtherApplication(t *testing.T) {
	databasetest.SQLiteOnly(t) // the application opens a file
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	run := func(folder string, args ...string) {
		t.Helper()
		command := exec.CommandContext(ctx, "go", args...)
		command.Dir = folder
		command.Env = append(command.Environ(), "GOFLAGS=", "GOWORK=off")
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, output)
		}
	}
	binary := filepath.Join(t.TempDir(), "notes")
	run(notes, "vet", "./...")
	run(notes, "test", "./...")
	run(notes, "build", "-buildvcs=false", "-o", binary, ".") // git may not be there, or refuse
	useNotes(ctx, t, binary)

	// Generating again, from the files that are written by hand, makes the same files.
	copied, want := t.TempDir(), files(t, filepath.Join(notes, "ent"))
	if err := os.CopyFS(copied, os.DirFS(notes)); err != nil {
		t.Fatal(err)
	}
	for name := range want {
		if name == "generate.go" || strings.HasPrefix(name, "schema/") {
			continue
		}
		if err := os.Remove(filepath.Join(copied, "ent", name)); err != nil {
			t.Fatal(err)
		}
	}
	daybook, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	run(copied, "mod", "edit", "-replace=daybook="+daybook)
	run(copied, "generate", "./...")
	if !maps.Equal(files(t, filepath.Join(copied, "ent")), want) {
		t.Errorf("%s/ent is not what go generate makes there", notes)
	}
}

// useNotes runs the application, sends it requests and stops it.
func useNotes(ctx context.Context, t *testing.T, binary string) {
	command := exec.CommandContext(ctx, binary, filepath.Join(t.TempDir(), "notes.db"))
	command.Stderr = t.Output()
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer command.Wait() // again, unless something failed
	defer command.Process.Kill()
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, step := range []struct {
		path   string
		post   url.Values // nil to get
		status int
		answer string
	}{
		{"/notes", url.Values{"text": {"milk"}}, 201, `{"id":1,"text":"milk"}`},
		{"/notes", url.Values{"text": {"milk"}}, 409, `{"message":"There is such a note already."}`},
		{"/import", url.Values{"text": {"bread", "milk", "salt"}}, 200, `{"stored":2}`},
		{"/import", url.Values{"text": {"oil", "", "flour"}}, 422, `{"message":"The note is empty."}`},
		{"/notes/3/pin", url.Values{}, 200, `{"id":3,"text":"salt","pinned":true}`},
		{"/notes", nil, 200, `[{"id":1,"text":"milk"},{"id":2,"text":"bread"},{"id":3,"text":"salt","pinned":true}]`},
	} {
		send := func(url string) (*http.Response, error) { return client.PostForm(url, step.post) }
		if step.post == nil {
			send = client.Get
		}
		response, err := send("http://" + strings.TrimSpace(address) + step.path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if answer := strings.TrimSpace(string(body)); err != nil || response.StatusCode != step.status || answer != step.answer {
			t.Errorf("%s %v: %d %s %v, want %d %s", step.path, step.post, response.StatusCode, answer, err, step.status, step.answer)
		}
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// files returns what the files in the folder hold, by their paths.
func files(t *testing.T, folder string) map[string]string {
	t.Helper()
	found, root := map[string]string{}, os.DirFS(folder)
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(root, path)
		found[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
