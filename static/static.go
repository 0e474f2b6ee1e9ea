// Package static holds the files that pages refer to: the style sheet, the script, the icon. Each is served under
// a name that changes with its content, so that a browser may keep it for ever.
package static

import (
	"crypto/sha256"
	"embed"
	"fmt"
	"mime"
	"path"
	"strings"
)

//go:embed *.css *.js *.svg
var embedded embed.FS

// File is one of the files as it is served.
type File struct {
	Name        string // such as daybook.0123456789abcdef.css
	Content     []byte
	ContentType string
}

// files holds the embedded files by the names they have in this folder.
var files = load()

func load() map[string]File {
	entries, err := embedded.ReadDir(".")
	if err != nil {
		panic(err) // what is embedded can be read
	}
	files := map[string]File{}
	for _, entry := range entries {
		content, err := embedded.ReadFile(entry.Name())
		if err != nil {
			panic(err)
		}
		ext := path.Ext(entry.Name())
		hash := sha256.Sum256(content)
		files[entry.Name()] = File{
			Name:        fmt.Sprintf("%s.%x%s", strings.TrimSuffix(entry.Name(), ext), hash[:8], ext),
			Content:     content,
			ContentType: mime.TypeByExtension(ext),
		}
	}
	return files
}

// Path returns the address of the named file, relative to the application's root. It panics if there is none,
// which is a mistake in a page.
func Path(name string) string {
	file, ok := files[name]
	if !ok {
		panic("static: there is no " + name)
	}
	return "static/" + file.Name
}

// Lookup returns the file that is served under the name.
func Lookup(name string) (File, bool) {
	for _, file := range files {
		if file.Name == name {
			return file, true
		}
	}
	return File{}, false
}
