// Package static holds the files that pages use: the style sheet, the script, the icons and the web manifest. Each is served
// under a name with a hash of its content, so that a browser may keep it for ever.
//
// The PNG icons are icon.svg in light colours, without the page's edge, cut to "4 4 24 24": whatever shape a phone gives an
// icon, the lines stay inside it.
package static

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"mime"
	"strings"
)

//go:embed *.css *.js *.png *.svg *.webmanifest
var embedded embed.FS

// File is a file as it is served.
type File struct {
	Content     []byte
	ContentType string
}

const manifest = "daybook.webmanifest"

// servedNames maps the files' names in this folder to those that they are served under; files has the files by the latter.
var servedNames, files = load()

func load() (servedNames map[string]string, files map[string]File) {
	servedNames, files = map[string]string{}, map[string]File{}
	add := func(name string, content []byte) {
		base, ext, _ := strings.Cut(name, ".")
		servedNames[name] = fmt.Sprintf("%s.%.8x.%s", base, sha256.Sum256(content), ext)
		files[servedNames[name]] = File{content, contentType(ext)}
	}
	entries, _ := embedded.ReadDir(".") // reading embedded files cannot fail
	for _, entry := range entries {
		if entry.Name() != manifest {
			content, _ := embedded.ReadFile(entry.Name())
			add(entry.Name(), content)
		}
	}
	content, _ := embedded.ReadFile(manifest)
	for name, served := range servedNames { // the manifest names the icons, by their names in this folder
		content = bytes.ReplaceAll(content, []byte(`"`+name+`"`), []byte(`"`+served+`"`))
	}
	add(manifest, content)
	return servedNames, files
}

func contentType(ext string) string {
	if ext == "webmanifest" {
		return "application/manifest+json" // package mime does not know it
	}
	return mime.TypeByExtension("." + ext)
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
