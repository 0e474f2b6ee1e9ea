// Package static holds the files that pages use: the style sheet, the script and the icon. Each is served under a name
// with a hash of its content, so that a browser may keep it for ever.
package static

import (
	"crypto/sha256"
	"embed"
	"fmt"
	"mime"
	"strings"
)

//go:embed *.css *.js *.svg
var embedded embed.FS

// File is a file as it is served.
type File struct {
	Content     []byte
	ContentType string
}

// servedNames maps the files' names in this folder to those that they are served under; files has the files by the latter.
var servedNames, files = load()

func load() (servedNames map[string]string, files map[string]File) {
	servedNames, files = map[string]string{}, map[string]File{}
	entries, _ := embedded.ReadDir(".") // reading embedded files cannot fail
	for _, entry := range entries {
		content, _ := embedded.ReadFile(entry.Name())
		base, ext, _ := strings.Cut(entry.Name(), ".")
		name := fmt.Sprintf("%s.%.8x.%s", base, sha256.Sum256(content), ext)
		servedNames[entry.Name()] = name
		files[name] = File{content, mime.TypeByExtension("." + ext)}
	}
	return servedNames, files
}

// Path returns the named file's path, relative to the application's root. It panics if there is no such file.
func Path(name string) string {
	served, ok := servedNames[name]
	if !ok {
		panic("static: there is no " + name)
	}
	return "static/" + served
}

// Lookup returns the file that is served under the name.
func Lookup(name string) (File, bool) {
	file, ok := files[name]
	return file, ok
}
