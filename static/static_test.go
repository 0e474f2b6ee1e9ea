package static

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestManifestNamesServedFiles looks up its icons, whose names change with their content.
func TestManifestNamesServedFiles(t *testing.T) {
	file, ok := Lookup(strings.TrimPrefix(Path(manifest), "static/"))
	if !ok || file.ContentType != "application/manifest+json" {
		t.Fatalf("the manifest is %q", file.ContentType)
	}
	var content struct{ Icons []struct{ Src, Type string } }
	if err := json.Unmarshal(file.Content, &content); err != nil {
		t.Fatal(err)
	}
	for _, icon := range content.Icons {
		if file, ok := Lookup(icon.Src); !ok || file.ContentType != icon.Type {
			t.Errorf("%s is served as %q, and the manifest says %q", icon.Src, file.ContentType, icon.Type)
		}
	}
	if len(content.Icons) == 0 {
		t.Error("the manifest has no icons")
	}
}
