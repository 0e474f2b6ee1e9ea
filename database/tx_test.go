package database

import "testing"

// TestClosedRowsAreForgotten reads many times in one transaction, which keeps only what is still being read.
func TestClosedRowsAreForgotten(t *testing.T) {
	driver, _ := openGroup(t)
	begun, err := driver.Tx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tx := begun.(*tx)
	for i := range 100 {
		rows, err := tx.QueryContext(t.Context(), "SELECT 1")
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			continue // forgotten by the application
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(tx.rows); n != 2 {
		t.Errorf("it keeps %d rows", n)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}
