package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"entgo.io/ent/dialect"
)

// Check returns an error unless the database has all of the files that [Migrate] would apply, and no others. It changes nothing.
func Check(ctx context.Context, driver dialect.Driver, migrations fs.FS) error {
	m := &migration{dialect: driver.Dialect()}
	if err := m.load(migrations); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	begun, err := driver.(interface {
		BeginTx(context.Context, *sql.TxOptions) (dialect.Tx, error)
	}).BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	m.tx = begun.(*tx)
	revisions, err := m.ReadRevisions(ctx)
	if err := errors.Join(m.tx.Rollback(), ctx.Err()); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	applied := 0
	if len(revisions) > 0 {
		applied = numberOf(revisions[len(revisions)-1].Version)
	}
	switch {
	case IsBusy(err), IsCorrupt(err):
		return err
	case err != nil || applied < m.last(): // without the table, an older version or another program made it
		return errors.New("the database was not written by this version: start its server once, which upgrades the database")
	case applied > m.last():
		return fmt.Errorf("the database was written by a newer version of this program (schema %d, this one knows %d)", applied, m.last())
	}
	return nil
}
