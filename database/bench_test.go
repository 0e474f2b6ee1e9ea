package database_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"daybook/database"
)

// BenchmarkRecord measures transactions of one INSERT, each durable when it returns, by 1, 16 and 64 clients at once: with
// this package, and as one usually opens SQLite for ent, on one connection (more only wait for one another's locks).
func BenchmarkRecord(b *testing.B) {
	for _, bench := range []struct {
		name string
		open func(path string) (dialect.Driver, error)
	}{
		{"usual", func(path string) (dialect.Driver, error) {
			db, err := sql.Open(sqliteName(), "file:"+path+"?_fk=1&_journal_mode=WAL&_synchronous=FULL&_busy_timeout=5000&_txlock=immediate")
			if err == nil {
				db.SetMaxOpenConns(1)
			}
			return entsql.OpenDB(dialect.SQLite, db), err
		}},
		{"ours", func(path string) (dialect.Driver, error) { return database.Open(context.Background(), path) }},
	} {
		for _, clients := range []int{1, 16, 64} {
			b.Run(fmt.Sprint(bench.name, "/", clients), func(b *testing.B) {
				driver, err := bench.open(filepath.Join(b.TempDir(), "test.db"))
				if err != nil {
					b.Fatal(err)
				}
				defer driver.Close()
				if err := driver.Exec(b.Context(), "CREATE TABLE note (value TEXT)", []any{}, nil); err != nil {
					b.Fatal(err)
				}
				if clients == 1 {
					for b.Loop() {
						record(b, driver)
					}
					return
				}
				b.SetParallelism(clients / runtime.GOMAXPROCS(0))
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						record(b, driver)
					}
				})
			})
		}
	}
}

func record(b *testing.B, driver dialect.Driver) {
	tx, err := driver.Tx(b.Context())
	if err != nil {
		b.Error(err)
		return
	}
	if err := tx.Exec(b.Context(), insert, []any{"hello world"}, nil); err != nil {
		b.Error(err)
	}
	if err := tx.Commit(); err != nil {
		b.Error(err)
	}
}
