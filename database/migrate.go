package database

import (
	"context"
	"fmt"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/schema"
)

// Migrate brings the database to the given version of the application's schema: it creates the tables, columns
// and indexes that are missing, and never drops or narrows one. Tables are those of ent's generated package
// migrate. A database that a later version of the application has written is refused, and left as it is.
func Migrate(ctx context.Context, driver dialect.Driver, version int, tables ...*schema.Table) error {
	found, err := schemaVersion(ctx, driver)
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if found > version {
		return fmt.Errorf("the database was written by a newer version of this program (schema %d, this one knows %d)", found, version)
	}
	create, err := schema.NewMigrate(driver)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if err := create.Create(ctx, tables...); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if found == version {
		return nil
	}
	// A pragma takes no parameters.
	return driver.Exec(ctx, fmt.Sprintf("PRAGMA user_version = %d", version), []any{}, nil)
}

// schemaVersion reads the number that SQLite keeps for the application in the file's header, 0 in a new file.
func schemaVersion(ctx context.Context, driver dialect.Driver) (int, error) {
	rows := &entsql.Rows{}
	if err := driver.Query(ctx, "PRAGMA user_version", []any{}, rows); err != nil {
		return 0, err
	}
	defer rows.Close()
	return entsql.ScanInt(rows)
}
