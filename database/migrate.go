package database

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/postgres"
	"ariga.io/atlas/sql/schema"
	"ariga.io/atlas/sql/sqlite"
	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
)

// applicationID marks the files that Migrate has prepared, in the field of the header for that (PRAGMA application_id). On
// PostgreSQL it is the number of the lock.
const applicationID = 'D'<<24 | 'a'<<16 | 'y'<<8 | 'b'

// ErrForeign is the error of [Migrate] for a database that another program made.
var ErrForeign = errors.New("the database belongs to another program, choose another file")

// Migrate applies the files that the database does not have yet, in the order of their numbers. The folder sqlite3 of migrations has
// those for SQLite, and postgres those for PostgreSQL: each is a migration directory of Atlas, with files 0001_name.sql, 0002_… and
// their sums in atlas.sum. Which were applied is in the table applied_migrations.
//
// All of it is one transaction under a lock: if several processes start at once, one migrates and the others wait; and if a file
// fails, the database is as it was. Call it before anything else uses the database, because SQLite's foreign keys are not enforced
// while it runs.
//
// It refuses, and does not change, a database that a later version of the application has migrated, or that has another text of a
// file that was applied. On SQLite it also refuses a file that another program made ([ErrForeign]): one with another application_id,
// or with tables of which none is the application's. It sets user_version to the number of the last file. A file without
// applied_migrations is taken to have everything up to its user_version, so an application that created its tables in another way
// sets that once. A PostgreSQL database may have other tables.
//
// Before it changes the schema of a SQLite file, it leaves a copy of the file beside it: PATH.schema4 if the schema was that of
// file 4, which replaces what an earlier upgrade from there has left. If the copy cannot be written, it fails. To go back, an older
// version of the application opens that copy.
//
// While a statement or the copy takes longer than two seconds, it is logged every two seconds.
func Migrate(ctx context.Context, driver dialect.Driver, migrations fs.FS, log *slog.Logger) (err error) {
	m := &migration{dialect: driver.Dialect(), log: log}
	if err := m.load(migrations); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if m.dialect == dialect.SQLite {
		// A table is changed by copying and dropping it. With foreign keys, that would delete the rows that refer to it. SQLite
		// ignores this pragma in a transaction.
		if err := driver.Exec(ctx, "PRAGMA foreign_keys = OFF", []any{}, nil); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		defer func() {
			err = errors.Join(err, driver.Exec(context.WithoutCancel(ctx), "PRAGMA foreign_keys = ON", []any{}, nil))
		}()
	}
	begun, err := driver.Tx(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	var ok bool
	if m.tx, ok = begun.(*tx); !ok {
		return errors.Join(fmt.Errorf("migrate: %T is not a driver of database.Open", driver), begun.Rollback())
	}
	m.tx.unlimited = true
	if err := m.run(ctx); err != nil {
		if state(err, stateForbidden) {
			err = fmt.Errorf("%w: let the owner of the database start this version once, or grant this role what it needs", err)
		}
		return errors.Join(err, m.tx.Rollback())
	}
	return m.tx.Commit()
}

// migration is one call of Migrate.
type migration struct {
	dialect string
	dir     migrate.MemDir
	files   []migrate.File
	sums    migrate.HashFile
	tx      *tx
	marked  bool // a SQLite file has the applicationID
	log     *slog.Logger
}

// load reads the files for the dialect.
func (m *migration) load(migrations fs.FS) error {
	entries, err := fs.ReadDir(migrations, m.dialect)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		text, err := fs.ReadFile(migrations, m.dialect+"/"+entry.Name())
		if err == nil {
			err = m.dir.WriteFile(entry.Name(), text)
		}
		if err != nil {
			return err
		}
	}
	if err := migrate.Validate(&m.dir); err != nil {
		return fmt.Errorf("the files in %s do not match their %s: %w", m.dialect, migrate.HashFileName, err)
	}
	if m.files, err = m.dir.Files(); err != nil {
		return err
	}
	for _, file := range m.files {
		if numberOf(file.Version()) < 1 {
			return fmt.Errorf("%s/%s: the name must begin with a number", m.dialect, file.Name())
		}
	}
	m.sums, err = m.dir.Checksum()
	return err
}

// numberOf returns the number of a version, or 0.
func numberOf(version string) int {
	n, _ := strconv.Atoi(version)
	return n
}

// run migrates in the transaction. It sees whatever was committed before it had the lock.
func (m *migration) run(ctx context.Context) error {
	found, recorded, err := m.lock(ctx)
	if err != nil {
		return err
	}
	baseline := "" // none
	if !recorded {
		if err := m.tx.Exec(ctx, createRevisions, []any{}, nil); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		if found > 0 {
			baseline = fmt.Sprintf("%04d", found)
		}
	}
	if err := m.check(ctx, found); err != nil {
		return err
	}
	progress := &progress{log: m.log, end: func() {}}
	defer func() { progress.end() }()
	if err := m.keepCopy(ctx, found, progress); err != nil {
		return err
	}
	open := map[string]func(schema.ExecQuerier) (migrate.Driver, error){dialect.SQLite: sqlite.Open, dialect.Postgres: postgres.Open}
	driver, err := open[m.dialect](m.tx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	executor, err := migrate.NewExecutor(unchecked{driver, driver.(migrate.StmtScanner)}, &m.dir, m,
		migrate.WithBaselineVersion(baseline), migrate.WithLogger(progress))
	if err == nil {
		err = executor.ExecuteN(ctx, 0)
	}
	if err == nil || errors.Is(err, migrate.ErrNoPendingFiles) {
		err = m.mark(ctx, found)
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// unchecked is Atlas's driver. Whether a database is one to migrate, this package decides by itself.
type unchecked struct {
	migrate.Driver
	migrate.StmtScanner
}

func (unchecked) CheckClean(context.Context, *migrate.TableIdent) error { return nil }

// last returns the number of the last file.
func (m *migration) last() int {
	if len(m.files) == 0 {
		return 0
	}
	return numberOf(m.files[len(m.files)-1].Version())
}

// lock begins the transaction and waits for others that migrate. It returns the schema's version as SQLite has it in the header, and
// whether there is a table of revisions.
func (m *migration) lock(ctx context.Context) (version int, recorded bool, err error) {
	if m.dialect == dialect.SQLite {
		return m.lockSQLite(ctx)
	}
	// Others may migrate for longer than a statement of the application waits for a lock. But later a file that waits for a table makes
	// those wait that come after it, so it should soon give up.
	for _, statement := range []string{
		"SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
		"SET LOCAL statement_timeout = 0",
		"SET LOCAL lock_timeout = 0",
		fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", applicationID),
		"SET LOCAL lock_timeout TO DEFAULT",
	} {
		if err := m.tx.Exec(ctx, statement, []any{}, nil); err != nil {
			return 0, false, fmt.Errorf("wait for others that migrate: %w", err)
		}
	}
	exists, err := query[bool](ctx, m.tx, "SELECT to_regclass('applied_migrations') IS NOT NULL")
	if err != nil {
		return 0, false, fmt.Errorf("list tables: %w", err)
	}
	return 0, exists[0], nil
}

// lockSQLite is lock on SQLite, where every writing transaction has the only lock. It refuses a file of another program.
func (m *migration) lockSQLite(ctx context.Context) (version int, recorded bool, err error) {
	header, err := query[int](ctx, m.tx, "SELECT * FROM pragma_application_id UNION ALL SELECT * FROM pragma_user_version")
	if err != nil {
		return 0, false, fmt.Errorf("read the database's header: %w", err)
	}
	id, version := header[0], header[1]
	m.marked = id == applicationID
	const list = `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'`
	tables, err := query[string](ctx, m.tx, list)
	if err != nil {
		return 0, false, fmt.Errorf("list tables: %w", err)
	}
	recorded = slices.Contains(tables, "applied_migrations")
	switch {
	case id != 0 && !m.marked:
		return 0, false, fmt.Errorf("%w (its application_id is %#x)", ErrForeign, id)
	case len(tables) > 0 && !recorded && !slices.ContainsFunc(tables, m.creates(version)):
		return 0, false, fmt.Errorf("%w (it has a table %q, and none of this program's)", ErrForeign, tables[0])
	}
	return version, recorded, nil
}

var createTable = regexp.MustCompile("(?i)CREATE\\s+TABLE\\s+(?:IF\\s+NOT\\s+EXISTS\\s+)?[`\"]?(\\w+)")

// creates returns a function that reports whether the files up to a version create the table.
func (m *migration) creates(version int) func(table string) bool {
	return func(table string) bool {
		return slices.ContainsFunc(m.files, func(file migrate.File) bool {
			return numberOf(file.Version()) <= version && slices.ContainsFunc(createTable.FindAllSubmatch(file.Bytes(), -1),
				func(match [][]byte) bool { return string(match[1]) == table })
		})
	}
}

// check refuses a database that is newer than the files, or that has others. The found version is that of SQLite's header.
func (m *migration) check(ctx context.Context, found int) error {
	revisions, err := m.ReadRevisions(ctx)
	if err != nil {
		return fmt.Errorf("read which migrations were applied: %w", err)
	}
	if len(revisions) > 0 {
		found = max(found, numberOf(revisions[len(revisions)-1].Version))
	}
	if found > m.last() {
		return fmt.Errorf("the database was written by a newer version of this program (schema %d, this one knows %d): %s",
			found, m.last(), m.wayBack())
	}
	for _, r := range revisions {
		i := slices.IndexFunc(m.files, func(file migrate.File) bool { return file.Version() == r.Version })
		if i < 0 {
			return fmt.Errorf("the database has a migration %s_%s that this program does not have", r.Version, r.Description)
		}
		// Each sum includes the files before it. A baseline has none: its file was not applied.
		if r.Hash != "" && r.Hash != m.sums[i].H {
			return fmt.Errorf("the migration %s, or one before it, was changed after it was applied to this database", m.files[i].Name())
		}
	}
	return nil
}

// path returns the path of the SQLite file, without symbolic links.
func (m *migration) path() string {
	return strings.TrimSuffix(m.tx.role.(*member).writer.file.log, "-wal")
}

// keepCopy copies a SQLite file whose schema is about to change, for the programs that know only that schema. The transaction has
// the lock, so nobody writes between the copy and the change. The copy has what was committed before.
func (m *migration) keepCopy(ctx context.Context, found int, progress *progress) error {
	if found == 0 || found == m.last() {
		return nil
	}
	path := m.path()
	target := copyOf(path, found)
	progress.end = progress.every(progressInterval, slog.String("copy", target))
	defer progress.end()
	if err := copyFile(ctx, path, target, nil); err != nil {
		return fmt.Errorf("the copy of the database that an upgrade leaves cannot be made, so nothing was changed: %w", err)
	}
	m.log.Info("copied the database, because its schema will change", slog.String("copy", target), slog.Int("schema", found))
	return nil
}

// copyOf returns the path of the copy that was made before the database's schema changed from a version.
func copyOf(path string, version int) string { return fmt.Sprintf("%s.schema%d", path, version) }

// wayBack says what to do with a database that is too new.
func (m *migration) wayBack() string {
	if m.dialect != dialect.SQLite {
		return "start that version, or restore a dump (pg_dump) from before the upgrade"
	}
	path := m.path()
	for version := m.last(); version > 0; version-- {
		backup := copyOf(path, version)
		if _, err := os.Stat(backup); err == nil {
			return fmt.Sprintf("start that version. Or go back to %s, which has what was recorded before the upgrade: stop every server, "+
				"move %s, and %[2]s-wal and -shm if they exist, to another folder, and copy %[1]s to %[2]s", backup, path)
		}
	}
	return "start that version, or restore a backup from before the upgrade"
}

// mark writes the version to the header of a SQLite file, by which older programs refuse it.
func (m *migration) mark(ctx context.Context, found int) error {
	if m.dialect != dialect.SQLite || m.marked && found == m.last() {
		return nil
	}
	mark := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, m.last())
	return m.tx.Exec(ctx, mark, []any{}, nil)
}

// query returns a query's rows.
func query[T any](ctx context.Context, tx dialect.Tx, query string) (values []T, err error) {
	var rows entsql.Rows
	if err := tx.Query(ctx, query, []any{}, &rows); err != nil {
		return nil, err
	}
	defer rows.Close()
	err = entsql.ScanSlice(rows, &values)
	return values, err
}
