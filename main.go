// Command daybook records messages and lists them, in a browser and in a terminal.
package main

//go:generate go tool -modfile=tools.mod templ generate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"entgo.io/ent/dialect"
	"github.com/alecthomas/kong"
	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"daybook/book"
	"daybook/database"
	"daybook/ent"
	"daybook/ent/migrations"
	"daybook/ent/schema"
	"daybook/handlers"
	"daybook/logs"
	"daybook/server"
	"daybook/views"
)

// Garbage is collected when the heap has grown by gcPercent. The ballast counts, too, although it is never touched and so takes no
// memory: a small heap may grow by more than by default, which makes pages faster, and that of thousands of clients by less.
const (
	gcPercent = 20
	ballast   = 32 << 20 // bytes
)

// commandLine has the flags and commands. Each flag also has an environment variable: DAYBOOK_ and the flag's name.
type commandLine struct {
	Listen   string `default:"127.0.0.1:8080" help:"Address to listen on: host:port, or unix:/path/to.sock."`
	Database string `default:"daybook.db" help:"SQLite database file, which is created if it does not exist, or a PostgreSQL server: postgres://…"`

	TokenFile string           `placeholder:"FILE" help:"File with the token that must be shown to record. DAYBOOK_TOKEN may have the token itself."`
	Private   bool             `help:"The token must be shown to read, too."`
	Open      bool             `help:"Listen on an address that other machines can reach without a token. Anyone who reaches it can read and record."`
	Host      []string         `placeholder:"NAME" help:"Names by which visitors call the server, besides localhost and IP addresses (*: any name)."`
	Proxy     []handlers.Proxy `placeholder:"CIDR" help:"Reverse proxies whose X-Forwarded-For, -Proto and -Host are believed: addresses, CIDR prefixes, or unix for those on a Unix socket."`
	Rate      handlers.Rate    `placeholder:"N/s" help:"How often a visitor may record: N/s, N/m or N/h. Unless set, as often as they want."`

	MaxMessage int    `default:"65536" help:"Maximum size of a message, in bytes."`
	Keep       age    `default:"0" placeholder:"DURATION" help:"Drop messages that are older than this, such as 90d or 12h (0: never)."`
	Log        string `default:"text" enum:"text,json" help:"Format of the log on standard error: text or json."`
	Debug      bool   `help:"Log each transaction and each statement with its values."`
	Versions   bool   `name:"version" short:"v" env:"-" help:"Like the command version."`

	Serve       serve       `cmd:"" default:"1" help:"Start the server. This is the default command."`
	Healthcheck healthcheck `cmd:"" help:"Ask the server at --listen whether it is ready: exit status 0 if it is, otherwise 1 with the reason."`
	Export      export      `cmd:"" help:"Write all messages to standard output, oldest first, as lines of JSON. A server may be running."`
	Import      imports     `cmd:"" help:"Record the messages of an export, or of ?all&format=ndjson, with their numbers and times. What is there already is skipped."`
	Remove      remove      `cmd:"" help:"Remove messages from the database: all of them, or none. A server may be running. Prints what was removed."`
	Backup      backup      `cmd:"" help:"Copy a SQLite database to a file, while a server uses it or not. The file is replaced when the copy is whole."`
	Version     version     `cmd:"" help:"Print the versions of Daybook, Go and SQLite."`
	Help        help        `cmd:"" help:"Print this help."`
}

// The commands, with their arguments.
type (
	serve       struct{}
	healthcheck struct{}
	export      struct{}
	imports     struct {
		File string `arg:"" optional:"" help:"File to read. Without it, or with -, standard input is read."`
	}
	remove struct {
		ID []int `arg:"" help:"Numbers of messages."`
	}
	backup struct {
		File string `arg:"" help:"File to write, or - for standard output."`
	}
	version struct{}
	help    struct{}
)

// Validate checks what the types of the flags do not.
func (l *commandLine) Validate() error {
	if l.MaxMessage < 1 || l.MaxMessage > schema.MaxValue {
		return fmt.Errorf("--max-message must be between 1 and %d", schema.MaxValue)
	}
	if _, inEnvironment := os.LookupEnv(tokenVariable); inEnvironment && l.TokenFile != "" {
		return fmt.Errorf("use either --token-file or %s, not both", tokenVariable)
	} else if l.Private && !inEnvironment && l.TokenFile == "" {
		return fmt.Errorf("--private needs a token: --token-file or %s", tokenVariable)
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
		if slices.Contains(os.Args, "--log=json") || os.Getenv("DAYBOOK_LOG") == "json" {
			line.Log = "json" // which a command line that cannot be parsed does not set
		}
		line.say(os.Stderr, slog.LevelError, fmt.Sprintf("daybook: %s (see daybook --help)", err))
		os.Exit(2)
	}
	stderr := logs.NewQueue(os.Stderr, func(lines int) {
		line.logger(os.Stderr).Warn("log lines were dropped because they could not be written", "lines", lines)
	})
	if line.Versions {
		err = version{}.Run()
	} else {
		err = command.Run(&line, stderr)
	}
	if err != nil {
		line.say(stderr, slog.LevelError, "daybook: "+err.Error())
	}
	stderr.Close()
	if err != nil {
		os.Exit(1)
	}
}

// Run runs the server until SIGINT or SIGTERM, and then until the running requests are finished.
func (serve) Run(l *commandLine, stderr *logs.Queue) (err error) {
	debug.SetGCPercent(gcPercent)
	defer runtime.KeepAlive(make([]byte, ballast))
	signal.Ignore(syscall.SIGPIPE) // the server continues when the program that reads its log ends

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)() // a second signal ends the process at once
	token, err := l.token()
	if err != nil {
		return err
	}
	listener, err := server.Listen(l.Listen, l.Open || token != "")
	if err != nil {
		return err
	}
	defer listener.Close() // for the returns before the server closes it

	log := l.logger(stderr)
	driver, err := l.openDatabase(ctx, log)
	if errors.Is(err, context.Canceled) {
		return nil // stopped during the upgrade, which the next start continues
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, driver.Close()) }()
	client := ent.NewClient(ent.Driver(driver), ent.Log(func(what ...any) { log.Debug(fmt.Sprint(what...)) }))
	if l.Debug {
		client = client.Debug()
	}

	app := handlers.New(handlers.Config{
		Client:     client,
		Driver:     driver,
		Shutdown:   ctx,
		Log:        log,
		MaxMessage: l.MaxMessage,
		Keep:       time.Duration(l.Keep),
		Access:     handlers.Access{Token: token, Private: l.Private, Hosts: l.Host, Proxies: l.Proxy, Rate: l.Rate},
	})
	for _, sentence := range l.greeting(listener) {
		l.say(stderr, slog.LevelInfo, sentence)
	}
	if info, err := os.Stat(l.TokenFile); err == nil && info.Mode().Perm()&0o004 != 0 && runtime.GOOS != "windows" {
		log.Warn("every user of this machine can read the token: chmod o-r " + l.TokenFile)
	}
	return server.Serve(ctx, app.Server, listener, func(running int64) {
		requests := fmt.Sprint(running, " requests")
		if running == 1 {
			requests = "1 request"
		}
		l.say(stderr, slog.LevelInfo, "Waiting for "+requests+"; Ctrl-C again stops at once.")
	})
}

// Run asks whether the server is ready.
func (healthcheck) Run(l *commandLine) error { return server.Ready(context.Background(), l.Listen) }

// Run writes all messages to standard output. If its reader ends, SIGPIPE ends it, too, without a word.
func (export) Run(l *commandLine) (err error) {
	ctx := context.Background()
	if err := l.exists(); err != nil {
		return err
	}
	driver, err := database.Open(ctx, l.Database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, driver.Close()) }()
	// An upgrade could disturb a server of an older version, which an export should not.
	if err := database.Check(ctx, driver, migrations.Files); err != nil {
		return fmt.Errorf("%s: %w", place(l.Database), err)
	}
	update, finish := func(int64, int64) {}, func() {}
	if !term.IsTerminal(int(os.Stdout.Fd())) {
		update, finish = progress("Exporting")
	}
	defer finish()
	return book.Export(ctx, driver, os.Stdout, update)
}

// maxRefusals is how many refused lines an import names.
const maxRefusals = 100

// Run records the messages of a file. It fails if it refused any, but records the others.
func (i imports) Run(l *commandLine, stderr *logs.Queue) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	file := os.Stdin
	if i.File != "" && i.File != "-" {
		if file, err = os.Open(i.File); err != nil {
			return err
		}
		defer file.Close()
	}
	refused := 0
	imported, err := l.importFrom(ctx, file, l.logger(stderr), func(line int, reason error) {
		if refused++; refused <= maxRefusals {
			l.say(stderr, slog.LevelWarn, fmt.Sprintf("line %d: %v", line, reason))
		}
	})
	if err != nil && ctx.Err() != nil && !database.IsUnknown(err) {
		return errors.New("stopped: nothing was imported")
	}
	if err != nil {
		return err
	}
	if refused > maxRefusals {
		l.say(stderr, slog.LevelWarn, fmt.Sprintf("… and %d more lines", refused-maxRefusals))
	}
	l.say(stderr, slog.LevelInfo, summary(imported, refused))
	if refused > 0 {
		return errors.New("some lines were refused: correct them, and import them again")
	}
	return nil
}

// importFrom imports a file, with a bar for each of the two steps.
func (l *commandLine) importFrom(
	ctx context.Context, file *os.File, log *slog.Logger, refuse func(line int, reason error),
) (imported book.Imported, err error) {
	driver, err := l.openDatabase(ctx, log)
	if err != nil {
		return imported, err
	}
	defer func() { err = errors.Join(err, driver.Close()) }()
	size := int64(-1) // not known
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	update, finish := progress("Reading")
	in, err := book.Read(interruptible(ctx, file), refuse, func(done int64) { update(done, size) })
	finish()
	if err != nil {
		return imported, err
	}
	defer in.Close()
	update, finish = progress("Importing")
	defer finish()
	return in.Import(ctx, driver, refuse, update)
}

// interruptible returns what reads until ctx ends: a file's own Read may wait for ever.
func interruptible(ctx context.Context, from io.Reader) io.Reader {
	reader, writer := io.Pipe()
	context.AfterFunc(ctx, func() { writer.CloseWithError(ctx.Err()) })
	go func() {
		_, err := io.Copy(writer, from)
		writer.CloseWithError(err)
	}()
	return reader
}

// summary says what was imported.
func summary(imported book.Imported, refused int) string {
	were := func(n int, what string) string {
		return fmt.Sprintf(", %d %s %s", n, english.PluralWord(n, "was", "were"), what)
	}
	said := fmt.Sprintf("Imported %d %s", imported.Messages, english.PluralWord(imported.Messages, "message", ""))
	if n := imported.Removals; n > 0 {
		said += fmt.Sprintf(" and %d %s", n, english.PluralWord(n, "removal", ""))
	}
	said += were(imported.Known, "here already")
	if n := imported.Removed; n > 0 {
		said += were(n, "removed here")
	}
	return said + were(refused, "refused") + "."
}

// progressPause is the time between two looks at a bar.
const progressPause = 100 * time.Millisecond

// progress shows a bar on standard error, if that is a terminal. Call update with how much is done, and with the total, which is -1
// if it is not known; and finish at the end, before anything else is written there.
func progress(description string) (update func(done, total int64), finish func()) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return func(int64, int64) {}, func() {}
	}
	var bar *progressbar.ProgressBar
	var shown time.Time
	update = func(done, total int64) {
		if time.Since(shown) < progressPause {
			return
		}
		shown = time.Now()
		if bar == nil {
			bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription(description))
		}
		_ = bar.Set64(done) // an error means that the total was too small
	}
	return update, func() {
		if bar != nil {
			_ = bar.Clear()
			_ = bar.Exit()
		}
	}
}

// Run removes messages.
func (r remove) Run(l *commandLine, stderr *logs.Queue) (err error) {
	ctx := context.Background()
	driver, err := l.openExisting(ctx, l.logger(stderr))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, driver.Close()) }()
	removed, err := book.RemoveAll(ctx, driver, r.ID...)
	if err != nil {
		return err
	}
	var lines []byte
	for _, m := range removed {
		lines = views.Message{Message: m}.AppendText(lines)
	}
	_, err = os.Stdout.Write(lines)
	return err
}

// Run copies the database.
func (b backup) Run(l *commandLine, stderr *logs.Queue) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	target, name := b.File, b.File
	if b.File == "-" {
		name = "standard output"
		if info, err := os.Stdout.Stat(); err != nil || info.Mode()&os.ModeCharDevice != 0 {
			return errors.New("standard output is a terminal, or another device: send it to a file or into a pipe")
		}
		folder, err := os.MkdirTemp("", "daybook")
		if err != nil {
			return err
		}
		defer os.RemoveAll(folder)
		target = filepath.Join(folder, "daybook.db")
	}
	update, finish := progress("Copying")
	err := database.Backup(ctx, l.Database, target, update)
	finish()
	if errors.Is(err, context.Canceled) {
		return errors.New("stopped before the copy was whole: nothing was written")
	}
	if err != nil {
		return err
	}
	stop() // from now on a signal ends the process at once
	info, err := os.Stat(target)
	if err == nil && b.File == "-" {
		err = send(target, os.Stdout)
	}
	if err != nil {
		return err
	}
	l.say(stderr, slog.LevelInfo, fmt.Sprintf("Copied %s to %s (%s).", l.Database, name, humanize.Bytes(uint64(info.Size()))))
	return nil
}

// send writes the file's content. It removes the folder first, which a process that a signal ends, SIGPIPE for example, cannot do.
func send(path string, to io.Writer) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := os.RemoveAll(filepath.Dir(path)); err != nil && runtime.GOOS != "windows" {
		return err
	}
	_, err = io.Copy(to, file)
	return err
}

func (l *commandLine) logger(to io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{}
	if l.Debug {
		options.Level = slog.LevelDebug
	}
	if l.Log == "json" {
		return slog.New(slog.NewJSONHandler(to, options))
	}
	return slog.New(slog.NewTextHandler(to, options))
}

// say writes a sentence for whoever has started the server: a line, or a record of a log in JSON.
func (l *commandLine) say(to io.Writer, level slog.Level, sentence string) {
	if l.Log == "json" {
		l.logger(to).Log(context.Background(), level, sentence)
		return
	}
	fmt.Fprintln(to, sentence)
}

// openDatabase opens the database and brings its tables and messages up to date.
func (l *commandLine) openDatabase(ctx context.Context, log *slog.Logger) (dialect.Driver, error) {
	driver, err := database.Open(ctx, l.Database)
	if err != nil {
		return nil, err
	}
	err = database.Migrate(ctx, driver, migrations.Files, log)
	if err == nil {
		err = book.Upgrade(ctx, driver, log)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", place(l.Database), err), driver.Close())
	}
	return driver, nil
}

// exists returns an error if the database is a file that does not exist, and would be created.
func (l *commandLine) exists() error {
	if _, err := os.Stat(l.Database); errors.Is(err, os.ErrNotExist) && !strings.Contains(l.Database, "://") {
		return fmt.Errorf("there is no database %s: use the server's --database", l.Database)
	}
	return nil
}

// openExisting opens the database, but does not create a file.
func (l *commandLine) openExisting(ctx context.Context, log *slog.Logger) (dialect.Driver, error) {
	if err := l.exists(); err != nil {
		return nil, err
	}
	return l.openDatabase(ctx, log)
}

// age is how long messages are kept. 0 is for ever.
type age time.Duration

// minAge is the shortest age.
const minAge = time.Minute

// UnmarshalText reads a duration as Go has them, or a number of days.
func (a *age) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if days, found := strings.CutSuffix(string(text), "d"); found {
		var n int64
		n, err = strconv.ParseInt(days, 10, 16)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d < minAge && d != 0 {
		return fmt.Errorf("%q is not an age of a minute or more, such as 90d or 12h, or 0", text)
	}
	*a = age(d)
	return nil
}

// place returns a URL without its user and its parameters, which may have a password, or the path of a file.
func place(database string) string {
	scheme, rest, found := strings.Cut(database, "://")
	if !found {
		return database
	}
	rest, _, _ = strings.Cut(rest, "?")
	return scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
}

// tokenVariable is the environment variable that may have the token. There is no flag for it: others can see a process's flags.
const tokenVariable = "DAYBOOK_TOKEN"

// minToken is the length of the shortest token in characters.
const minToken = 16

// token returns the token that must be shown to record, or "" if there is none.
func (l *commandLine) token() (string, error) {
	token, found := os.LookupEnv(tokenVariable)
	source := tokenVariable
	if l.TokenFile != "" {
		content, err := os.ReadFile(l.TokenFile)
		if err != nil {
			return "", fmt.Errorf("the token cannot be read: %w", err)
		}
		token, found, source = strings.TrimSpace(string(content)), true, l.TokenFile
	}
	visible := func(r rune) bool { return r > ' ' && r <= '~' }
	switch {
	case !found:
		return "", nil
	case strings.ContainsFunc(token, func(r rune) bool { return !visible(r) }):
		return "", fmt.Errorf("the token in %s has a space or another character that is not visible ASCII", source)
	case len(token) < minToken:
		return "", fmt.Errorf("the token in %s has %d characters: use at least %d, for example those of openssl rand -hex 32",
			source, len(token), minToken)
	}
	return token, nil
}

// greeting says where the server is, and how to record from a terminal.
func (l *commandLine) greeting(listener *server.Listener) []string {
	addr, source := listener.Addr(), ""
	if listener.Inherited {
		source = " (the socket from systemd: --listen is not used)"
	}
	curl := "Try: curl "
	if l.TokenFile != "" {
		curl += fmt.Sprintf(`-H "Authorization: Bearer $(cat %s)" `, l.TokenFile)
	} else if os.Getenv(tokenVariable) != "" {
		curl += `-H "Authorization: Bearer $` + tokenVariable + `" `
	}
	if addr.Network() == "unix" {
		return []string{"Daybook listens on " + addr.String() + source, fmt.Sprintf("%s--unix-socket %s -d 'hello world' localhost/record", curl, addr)}
	}
	host := addr.String()
	if tcp := addr.(*net.TCPAddr); tcp.IP.IsUnspecified() {
		host = fmt.Sprintf("localhost:%d", tcp.Port)
	}
	return []string{"Daybook is at http://" + host + source, fmt.Sprintf("%s-d 'hello world' %s/record", curl, host)}
}

// Run prints the help.
func (help) Run(parser *kong.Kong) error {
	_, err := parser.Parse([]string{"--help"})
	return err
}

// Run prints the versions.
func (version) Run() error {
	release, commit := handlers.Build()
	_, err := fmt.Printf("daybook %s, commit %s, %s, SQLite %s\n", release, commit, runtime.Version(), database.SQLiteVersion())
	return err
}
