package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentsNameTestsThatExist finds each test that a document names.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	tests := contents(t, "*_test.go", "*/*_test.go")
	names := regexp.MustCompile("`(Test[A-Z][A-Za-z]+)`").FindAllStringSubmatch(contents(t, "SECURITY.md", "docs/*.md"), -1)
	for _, name := range names {
		if !strings.Contains(tests, "func "+name[1]+"(t *testing.T)") {
			t.Errorf("there is no %s", name[1])
		}
	}
	if len(names) < 40 {
		t.Errorf("the documents name only %d tests", len(names))
	}
}

// contents returns all that is in the files.
func contents(t *testing.T, patterns ...string) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(content)
		}
	}
	return all.String()
}
