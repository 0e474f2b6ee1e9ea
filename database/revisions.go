package database

import (
	"context"
	"errors"

	"ariga.io/atlas/sql/migrate"
)

// createRevisions creates the table of the files that were applied.
const createRevisions = `CREATE TABLE applied_migrations (version text NOT NULL PRIMARY KEY, description text NOT NULL, hash text NOT NULL,
	applied_at timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP)`

// Ident and the following methods are Atlas's RevisionReadWriter.
func (m *migration) Ident() *migrate.TableIdent {
	return &migrate.TableIdent{Name: "applied_migrations"}
}

// ReadRevisions returns which files were applied, in the order of their versions.
func (m *migration) ReadRevisions(ctx context.Context) (revisions []*migrate.Revision, err error) {
	rows, err := query[struct{ Version, Description, Hash string }](ctx, m.tx,
		"SELECT version, description, hash FROM applied_migrations ORDER BY version")
	for _, row := range rows {
		revisions = append(revisions, &migrate.Revision{Version: row.Version, Description: row.Description, Hash: row.Hash})
	}
	return revisions, err
}

// ReadRevision finds none: Atlas asks only for files that were not applied.
func (m *migration) ReadRevision(context.Context, string) (*migrate.Revision, error) {
	return nil, migrate.ErrRevisionNotExist
}

// WriteRevision notes a file that was applied. A part of one is never committed, so it needs no note.
func (m *migration) WriteRevision(ctx context.Context, r *migrate.Revision) error {
	if r.Applied < r.Total {
		return nil
	}
	const insert = "INSERT INTO applied_migrations (version, description, hash) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
	return m.tx.Exec(ctx, insert, []any{r.Version, r.Description, r.Hash}, nil)
}

// DeleteRevision is never called.
func (m *migration) DeleteRevision(context.Context, string) error { return errors.ErrUnsupported }
