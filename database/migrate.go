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

// applicationID marks the files that Migrate has prepared, in the field of the header for that (PRAGMA application_id).
const applicationID = 'D'<<24 | 'a'<<16 | 'y'<<8 | 'b'

// ErrForeign is the error of [Migrate] for a database that another program made.
var ErrForeign = errors.New("the database belongs to another program, choose another file")

// Migrate brings the database to the given version of the application's schema. The tables are those of ent's generated package
// migrate. It creates the tables, columns and indexes that are missing, and never drops or narrows one. It is one transaction: if
// several processes start at once, one migrates and the others wait. Call it before anything else uses the database, because
// foreign keys are not enforced while it runs.
//
// It refuses, and does not change, a database that a later version of the application has written, or that another program made
// ([ErrForeign]): one with another application_id, or with tables of which none is the application's.
func Migrate(ctx context.Context, driver dialect.Driver, version int, tables ...*schema.Table) (err error) {
	// Ent changes a table by copying and dropping it. With foreign keys, that would delete the rows that refer to it. SQLite ignores
	// this pragma in a transaction.
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

func migrate(ctx context.Context, tx dialect.Tx, version int, tables []*schema.Table) error {
	header, err := query[int](ctx, tx, "SELECT * FROM pragma_application_id UNION ALL SELECT * FROM pragma_user_version")
	if err != nil {
		return fmt.Errorf("read the database's header: %w", err)
	}
	id, found := header[0], header[1]
	const list = `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'`
	names, err := query[string](ctx, tx, list)
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	ours := func(name string) bool {
		return slices.ContainsFunc(tables, func(t *schema.Table) bool { return t.Name == name })
	}
	switch {
	case id != 0 && id != applicationID:
		return fmt.Errorf("%w (its application_id is %#x)", ErrForeign, id)
	case len(names) > 0 && !slices.ContainsFunc(names, ours):
		return fmt.Errorf("%w (it has a table %q, and none of this program's)", ErrForeign, names[0])
	case found > version:
		return fmt.Errorf("the database was written by a newer version of this program (schema %d, this one knows %d)", found, version)
	}
	create, err := schema.NewMigrate(migration{tx})
	if err == nil {
		err = create.Create(ctx, tables...)
	}
	if err == nil && (id != applicationID || found != version) {
		mark := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, version)
		err = tx.Exec(ctx, mark, []any{}, nil)
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// query returns the only column of a query's rows.
func query[T any](ctx context.Context, tx dialect.Tx, query string) (values []T, err error) {
	var rows entsql.Rows
	if err := tx.Query(ctx, query, []any{}, &rows); err != nil {
		return nil, err
	}
	defer rows.Close()
	err = entsql.ScanSlice(rows, &values)
	return values, err
}

// migration is a transaction that ent migrates in: a driver whose transactions are part of this one.
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
