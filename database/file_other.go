//go:build !linux

package database

import "os"

// identity is what makes a file the same file, whatever its name.
type identity struct{ info os.FileInfo }

func (i identity) same(other identity) bool { return os.SameFile(i.info, other.info) }

// identify returns the identity and the size in bytes of the file at path.
func identify(path string) (id identity, size int64, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return identity{}, 0, err
	}
	return identity{info}, info.Size(), nil
}
