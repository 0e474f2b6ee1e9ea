// Command daybook records messages and lists them, in a browser and in a terminal.
package main

//go:generate go tool -modfile=tools.mod templ generate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"entgo.io/ent/dialect"
	"github.com/alecthomas/kong"

	"daybook/database"
	"daybook/ent"
	"daybook/ent/migrate"
	"daybook/ent/schema"
	"daybook/handlers"
)

// The statuses with which the process ends, besides 0.
const (
	exitFailed = 1
	exitUsage  = 2
)

// grace is how long the requests that are running when the server is told to stop may take to finish. Package handlers sees to it
// that clients take less.
const grace = 9 * time.Second

// gcPercent is how much may be added to the heap, in percent of what is in use, before Go collects garbage. The server has only a
// few megabytes in use, and allocates as much every 20 ms when it is busy: by Go's default it would collect all the time, and take
// a third longer for a page.
const gcPercent = 250

// commandLine is what can be said to daybook. Each flag has an environment variable, too: DAYBOOK_ and its name.
type commandLine struct {
	Listen     string `default:"127.0.0.1:8080" help:"Address to listen on: host:port, or unix:/path/to.sock."`
	Database   string `default:"daybook.db" help:"SQLite file. It is created if it is missing."`
	Open       bool   `help:"Listen where other machines reach it, so that all who do may read and record."`
	MaxMessage int    `default:"65536" help:"Largest message, in bytes."`
	Log        string `default:"text" enum:"text,json" help:"Format of the log on standard error: text or json."`
	Debug      bool   `help:"Log each transaction and statement, with its values."`

	Serve   serve   `cmd:"" default:"1" help:"Serve the book. This is what happens without a command."`
	Version version `cmd:"" help:"Show the versions of Daybook, Go and SQLite."`
}

// Validate checks what the flags' types do not.
func (l *commandLine) Validate() error {
	if l.MaxMessage < 1 || l.MaxMessage > schema.MaxValue {
		return fmt.Errorf("--max-message must be between 1 and %d", schema.MaxValue)
	}
	return nil
}

func main() {
	var line commandLine
	parser := kong.Must(&line,
		kong.Name("daybook"),
		kong.Description("Daybook records messages and lists them, in a browser and in a terminal."),
		kong.DefaultEnvars("DAYBOOK"),
	)
	command, err := parser.Parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "daybook: %s (see daybook --help)\n", err)
		os.Exit(exitUsage)
	}
	if err := command.Run(&line); err != nil {
		fmt.Fprintf(os.Stderr, "daybook: %s\n", err)
		os.Exit(exitFailed)
	}
}

// serve is the command that serves the book.
type serve struct{}

// Run serves until the process is told to stop, by SIGINT or SIGTERM, and what then runs has finished.
func (serve) Run(line *commandLine) (err error) {
	debug.SetGCPercent(gcPercent)
	signal.Ignore(syscall.SIGPIPE) // of a standard error that nobody reads any more, which is no reason to end

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := listen(line.Listen, line.Open)
	if err != nil {
		return err
	}
	defer listener.Close() // again, if the server was started; it has closed it then

	log := line.logger()
	client, err := line.openDatabase(ctx, log)
	if errors.Is(err, context.Canceled) {
		return nil // told to stop during the upgrade, which the next start continues
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()

	server := handlers.New(client, log, line.MaxMessage).Server
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	greet(listener.Addr())
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
		stop() // a second signal ends the process at once
	}
	return shutDown(server)
}

func (l *commandLine) logger() *slog.Logger {
	options := &slog.HandlerOptions{}
	if l.Debug {
		options.Level = slog.LevelDebug
	}
	if l.Log == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// openDatabase returns a client of the database, whose tables and messages are those of this version.
func (l *commandLine) openDatabase(ctx context.Context, log *slog.Logger) (*ent.Client, error) {
	driver, err := database.Open(ctx, l.Database)
	if err != nil {
		return nil, err
	}
	err = database.Migrate(ctx, driver, schema.Version, migrate.Tables...)
	if err == nil {
		err = handlers.Upgrade(ctx, ent.NewClient(ent.Driver(driver)), log)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", l.Database, err), driver.Close())
	}
	if l.Debug {
		driver = dialect.DebugWithContext(driver, func(ctx context.Context, what ...any) {
			log.DebugContext(ctx, fmt.Sprint(what...))
		})
	}
	return ent.NewClient(ent.Driver(driver)), nil
}

// listen listens on host:port, or on unix:/path. Without a token whoever reaches Daybook may record, so an address that
// other machines reach must have been meant.
func listen(address string, open bool) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return listenUnix(path)
	}
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %q: give host:port or unix:/path/to.sock (%w)", address, err)
	}
	if !tcp.IP.IsLoopback() && !open {
		return nil, fmt.Errorf("not listening on %s, where other machines could record: add --open if that is meant", address)
	}
	listener, err := net.ListenTCP("tcp", tcp)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is taken by another program: stop that one, or choose another address with --listen", address)
	}
	return listener, err
}

// listenUnix listens on a socket, in place of one that a process left behind that has ended.
func listenUnix(path string) (net.Listener, error) {
	listener, err := net.Listen("unix", path)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return listener, err
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeSocket {
		return nil, errors.Join(fmt.Errorf("%s is a file and no socket: choose another path with --listen", path), err)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		return nil, errors.Join(fmt.Errorf("%s is taken by another program: choose another with --listen", path), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return net.Listen("unix", path)
}

// greet tells where the book is, and how to record from a terminal.
func greet(addr net.Addr) {
	if addr.Network() == "unix" {
		fmt.Fprintf(os.Stderr, "Daybook listens on %s\nTry: curl --unix-socket %[1]s -d 'hello world' localhost/record\n", addr)
		return
	}
	host := addr.String()
	if tcp := addr.(*net.TCPAddr); tcp.IP.IsUnspecified() {
		host = fmt.Sprintf("localhost:%d", tcp.Port)
	}
	fmt.Fprintf(os.Stderr, "Daybook is at http://%s\nTry: curl -d 'hello world' %[1]s/record\n", host)
}

// shutDown stops accepting, and waits for the requests that are running. What takes longer than grace is cut off, which is no failure:
// nobody has been told that it succeeded.
func shutDown(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return server.Close()
	}
	return err
}

// version is the command that shows what is running.
type version struct{}

// Run prints the versions.
func (version) Run() error {
	release, commit := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		release = info.Main.Version
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				commit = setting.Value
			}
		}
	}
	_, err := fmt.Printf("daybook %s, commit %s, %s, SQLite %s\n", release, commit, runtime.Version(), database.SQLiteVersion())
	return err
}
