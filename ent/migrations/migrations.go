// Package migrations has the steps that bring a database to ent's schema, for database.Migrate: SQL files in a folder for each
// database. Those with the same number, where both have one, are the same step. The program in folder diff writes them from the
// schema; some are edited or written by hand. A file that a release had is never changed.
package migrations

import "embed"

// Files are the folders sqlite3 and postgres.
//
//go:embed sqlite3 postgres
var Files embed.FS
