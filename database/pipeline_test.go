package database_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"entgo.io/ent/dialect"

	"daybook/database"
	"daybook/database/databasetest"
)

// TestFirstStatementReadsTheSameValues reads values of many types by the first statement of a transaction, which is sent with BEGIN,
// and by the second one, which is not.
func TestFirstStatementReadsTheSameValues(t *testing.T) {
	if databasetest.Postgres() {
		return // once is enough
	}
	driver, err := database.Open(t.Context(), databasetest.Start(t).New(t))
	if err != nil {
		t.Fatal(err)
	}
	defer driver.Close()
	first, second := begin(t, driver, true), begin(t, driver, true)
	exec(t, second, "SELECT $1::numeric", 1) // a parameter of a type that is read as text
	a, b := everyType(t, first), everyType(t, second)
	commit(t, first)
	commit(t, second)
	if a != b {
		t.Errorf("the first statement has read\n%s\nthe second one\n%s", a, b)
	}
}

// everyType returns what the transaction reads.
func everyType(t *testing.T, tx dialect.Tx) (read string) {
	t.Helper()
	const query = `SELECT true, false, 1::int2, 2::int4, 3::int8, 1.5::float4, 2.5::float8, 1.25::numeric, 'x'::text, 'y'::varchar, 'z'::char(3),
		'n'::name, '\x0102'::bytea, '{"a": 1}'::json, '{"a": 1}'::jsonb, '<a/>'::xml, '2026-01-02'::date, '10:00'::time,
		'2026-01-02 03:04:05.678'::timestamp, '2026-01-02 03:04:05.678+02'::timestamptz, 'infinity'::timestamptz,
		'550e8400-e29b-41d4-a716-446655440000'::uuid, '1 day 2 hours'::interval, '10.0.0.1/8'::inet, ARRAY[1, 2], ARRAY['a', 'b'],
		'(1,2)'::point, 'pg_class'::regclass, 5::oid, null::int, 12.5::money, '[1,3)'::int4range, B'101',
		nullif(i, 2) FROM generate_series(1, 2) AS i`
	rows, err := tx.(interface {
		QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	}).QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values, to := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			to[i] = &values[i]
		}
		if err := rows.Scan(to...); err != nil {
			t.Fatal(err)
		}
		for i, value := range values {
			read += fmt.Sprintf("%s %T %v; ", columns[i], value, value)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return read
}
