package database

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/schema"
)

// applicationID marks the files that Migrate has prepared, in the header's field for that (PRAGMA application_id).
const applicationID = 'D'<<24 | 'a'<<16 | 'y'<<8 | 'b'

// ErrForeign is the error of [Migrate] for a database that another program made.
var ErrForeign = errors.New("the database belongs to another program, choose another file")

// Migrate brings the database to the given version of the application's schema: it creates the tables, columns
// and indexes that are missing, and never drops or narrows one. Tables are those of ent's generated package
// migrate. All of it is one transaction, so that of several processes that start at once, one migrates and the others wait.
//
// A database that a later version of the application has written is refused, and so is one of another program's ([ErrForeign]):
// one with a mark of its own, or with tables of which none is the application's. Both are left as they are.
//
// It is to be called before the database is used otherwise: meanwhile foreign keys are not enforced.
func Migrate(ctx context.Context, driver dialect.Driver, version int, tables ...*schema.Table) (err error) {
	// Not in the transaction, where SQLite ignores it: a table that is changed is copied and dropped, and with it would go the
	// rows that refer to it.
	if err := driver.Exec(ctx, "PRAGMA foreign_keys = OFF", []any{}, nil); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	defer func() {
		err = errors.Join(err, driver.Exec(context.WithoutCancel(ctx), "PRAGMA foreign_keys = ON", []any{}, nil))
	}()
	tx, err := driver.Tx(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if err := migrate(ctx, tx, version, tables); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// migrate migrates inside the transaction, which has the database to itself.
func migrate(ctx context.Context, tx dialect.Tx, version int, tables []*schema.Table) error {
	if err := checkOwner(ctx, tx, tables); err != nil {
		return err
	}
	found, err := header(ctx, tx, "user_version")
	if err != nil {
		return err
	}
	if found > version {
		return fmt.Errorf("the database was written by a newer version of this program (schema %d, this one knows %d)", found, version)
	}
	create, err := schema.NewMigrate(migration{tx})
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if err := create.Create(ctx, tables...); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return errors.Join(setHeader(ctx, tx, "user_version", version), setHeader(ctx, tx, "application_id", applicationID))
}

// checkOwner refuses a database that another program made.
func checkOwner(ctx context.Context, tx dialect.Tx, tables []*schema.Table) error {
	id, err := header(ctx, tx, "application_id")
	if err != nil {
		return err
	}
	if id != 0 && id != applicationID {
		return fmt.Errorf("%w (its application_id is %#x)", ErrForeign, id)
	}
	names, err := tableNames(ctx, tx)
	if err != nil {
		return err
	}
	ours := func(name string) bool {
		return slices.ContainsFunc(tables, func(t *schema.Table) bool { return t.Name == name })
	}
	if len(names) > 0 && !slices.ContainsFunc(names, ours) {
		return fmt.Errorf("%w (it has a table %q, and none of this program's)", ErrForeign, names[0])
	}
	return nil
}

// tableNames returns the names of the tables that are not SQLite's own.
func tableNames(ctx context.Context, tx dialect.Tx) (names []string, err error) {
	const query = `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'`
	var rows entsql.Rows
	if err := tx.Query(ctx, query, []any{}, &rows); err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	defer rows.Close()
	err = entsql.ScanSlice(rows, &names)
	return names, err
}

// header reads a number that SQLite keeps for the application in the file's header, 0 in a new file.
func header(ctx context.Context, tx dialect.Tx, name string) (int, error) {
	var rows entsql.Rows
	if err := tx.Query(ctx, "PRAGMA "+name, []any{}, &rows); err != nil {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	defer rows.Close()
	return entsql.ScanInt(rows)
}

// setHeader writes such a number, if it is another one. A pragma takes no parameters.
func setHeader(ctx context.Context, tx dialect.Tx, name string, value int) error {
	if found, err := header(ctx, tx, name); err != nil || found == value {
		return err
	}
	return tx.Exec(ctx, fmt.Sprintf("PRAGMA %s = %d", name, value), []any{}, nil)
}

// migration is a transaction as ent migrates in it: as a driver whose transactions are part of this one.
type migration struct{ dialect.ExecQuerier }

func (m migration) Tx(context.Context) (dialect.Tx, error) { return dialect.NopTx(m), nil }
func (m migration) Close() error                           { return nil }
func (m migration) Dialect() string                        { return dialect.SQLite }

// Query runs a query. Ent insists that foreign keys are enforced before it begins, and then turns that off.
func (m migration) Query(ctx context.Context, query string, args, v any) error {
	if query == "PRAGMA foreign_keys" {
		query = "SELECT 1"
	}
	return m.ExecQuerier.Query(ctx, query, args, v)
}
