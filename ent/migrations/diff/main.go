// Command diff writes the difference between ent's schema and the migrations as the next migration, for each database, and the sums
// of all files. It applies the files to new databases, for which it starts a PostgreSQL server. Without a name, it writes only the
// sums. With -check it writes nothing. In both cases it fails if there is a difference.
//
//	go run ./ent/migrations/diff [-check] [NAME]
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"text/template"

	atlas "ariga.io/atlas/sql/migrate"
	atlasschema "ariga.io/atlas/sql/schema"
	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql/schema"

	"daybook/database"
	"daybook/database/databasetest"
	"daybook/ent/migrate"
)

// root is the folder of the migrations, from that of the module.
const root = "ent/migrations"

// byHand are the indexes that ent's schema does not have. What ent does not know at all, such as triggers, it leaves alone.
var byHand = []string{"messages_folded_trigrams"}

func main() {
	check := flag.Bool("check", false, "write nothing")
	flag.Parse()
	err := run(context.Background(), flag.Arg(0), *check)
	if errors.Is(err, databasetest.ErrNotInstalled) && *check && os.Getenv("DAYBOOK_TEST_STRICT") != "1" {
		fmt.Fprintln(os.Stderr, "The migrations for PostgreSQL were not checked:", err)
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name string, check bool) error {
	if name != "" && !regexp.MustCompile("^[a-z0-9_]+$").MatchString(name) {
		return fmt.Errorf("%q is no name for a file: use lower-case letters, digits and _", name)
	}
	temporary, err := os.MkdirTemp("", "migrations")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	number, err := next()
	if err != nil {
		return err
	}
	file := fmt.Sprintf("%04d_%s", number, cmp.Or(name, "NAME"))

	changed, err := diff(ctx, dialect.SQLite, filepath.Join(temporary, "dev.db"), file)
	if err == nil && check {
		err = report(changed)
	}
	if err != nil {
		return err
	}
	server, err := databasetest.NewServer("fsync=off")
	if err != nil {
		return err
	}
	defer server.Remove()
	// Atlas changes the search path and changes it back, which must be on one connection.
	more, err := diff(ctx, dialect.Postgres, server.URL("postgres")+"&pool_max_conns=1", file)
	if err != nil {
		return err
	}
	changed = append(changed, more...)
	if check || name == "" && slices.ContainsFunc(changed, changedFile.isMigration) {
		return report(changed)
	}
	for _, f := range changed {
		if err := os.WriteFile(f.path, f.text, 0o644); err != nil {
			return err
		}
		fmt.Println(f.path)
	}
	return nil
}

// next returns the number of the next migration: one more than the greatest in any folder.
func next() (number int, err error) {
	files, err := filepath.Glob(root + "/*/*.sql")
	for _, file := range files {
		var n int
		if _, err := fmt.Sscanf(filepath.Base(file), "%04d_", &n); err != nil {
			return 0, fmt.Errorf("%s: the name must begin with a number of four digits", file)
		}
		number = max(number, n)
	}
	return number + 1, err
}

// changedFile is a file as it should be.
type changedFile struct {
	path string
	text []byte
}

func (f changedFile) isMigration() bool { return filepath.Ext(f.path) == ".sql" }

// report returns an error that has the missing migrations, and names the files of sums that are not right.
func report(changed []changedFile) error {
	if len(changed) == 0 {
		return nil
	}
	sentence := "the sums are not those of the migrations: run task migration, which writes"
	if slices.ContainsFunc(changed, changedFile.isMigration) {
		sentence = "the migrations do not lead to ent's schema: run task migration -- NAME, which writes"
	}
	for _, f := range changed {
		sentence += "\n\n" + f.path
		if f.isMigration() {
			sentence += ":\n" + string(f.text)
		}
	}
	return errors.New(sentence)
}

// diff returns what is missing in the folder for the dialect: its sums, and the file that leads to ent's schema. The database at
// url is empty.
func diff(ctx context.Context, dialect, url, file string) (changed []changedFile, err error) {
	folder := filepath.Join(root, dialect)
	dir := &atlas.MemDir{}
	dir.SyncWrites(func(name string, text []byte) error {
		path := filepath.Join(folder, name)
		old, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !bytes.Equal(old, text) {
			changed = slices.DeleteFunc(changed, func(f changedFile) bool { return f.path == path })
			changed = append(changed, changedFile{path, text})
			return nil
		}
		return err
	})
	local, err := atlas.NewLocalDir(folder)
	if err != nil {
		return nil, err
	}
	files, err := local.Files()
	if err == nil {
		err = dir.CopyFiles(files)
	}
	if err != nil {
		return nil, err
	}
	driver, err := database.Open(ctx, url)
	if err != nil {
		return nil, err
	}
	defer driver.Close()
	const text = "{{range .Changes}}{{with .Comment}}-- {{.}}\n{{end}}{{.Cmd}};\n{{end}}"
	format, err := atlas.NewTemplateFormatter(
		template.Must(template.New("").Parse("{{.Name}}.sql")), template.Must(template.New("").Parse(text)))
	if err != nil {
		return nil, err
	}
	migration, err := schema.NewMigrate(driver, schema.WithDir(dir), schema.WithMigrationMode(schema.ModeReplay),
		schema.WithFormatter(format), schema.WithDropColumn(true), schema.WithDropIndex(true), schema.WithDiffHook(keepByHand))
	if err == nil {
		err = migration.NamedDiff(ctx, file, migrate.Tables...)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", folder, err)
	}
	return changed, nil
}

// keepByHand leaves out that what was written by hand is dropped.
func keepByHand(next schema.Differ) schema.Differ {
	return schema.DiffFunc(func(current, desired *atlasschema.Schema) ([]atlasschema.Change, error) {
		changes, err := next.Diff(current, desired)
		for _, change := range changes {
			if table, ok := change.(*atlasschema.ModifyTable); ok {
				table.Changes = slices.DeleteFunc(table.Changes, func(change atlasschema.Change) bool {
					drop, ok := change.(*atlasschema.DropIndex)
					return ok && slices.Contains(byHand, drop.I.Name)
				})
			}
		}
		return changes, err
	})
}
