package database

import (
	"errors"
	"fmt"
	"path/filepath"
)

// ErrFileReplaced is the error of a write after the database's file, or its write-ahead log, was deleted, renamed or replaced
// while it was open. What is written then can be found by nobody who opens the path. Nothing is written until the database is
// closed and opened again.
//
// A file whose content was overwritten, as cp does it, is the same file, and is not noticed.
var ErrFileReplaced = errors.New("the database's file was deleted, renamed or replaced while it was open")

// file is the database's file and its write-ahead log as they were opened.
type file struct {
	path, log         string // the log is beside the file that path, which may be a symbolic link, leads to
	opened, openedLog identity
	lost              error // why nothing is written any more
}

// openFile returns the file that is open at path.
func openFile(path string) (*file, error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	f := &file{path: path, log: target + "-wal"}
	if f.opened, _, err = identify(f.path); err != nil {
		return nil, err
	}
	f.openedLog, _, err = identify(f.log)
	return f, err
}

// check returns an error if the paths do not name what is open, and otherwise the size of the log in bytes. Each commit pays
// for it, a few microseconds: SQLite never looks again, and goes on writing into a file that has lost its name.
func (f *file) check() (logSize int64, err error) {
	if f.lost != nil {
		return 0, f.lost
	}
	id, _, err := identify(f.path)
	if err != nil || !id.same(f.opened) {
		return 0, f.lose(f.path)
	}
	id, logSize, err = identify(f.log)
	if err != nil || !id.same(f.openedLog) {
		return 0, f.lose(f.log)
	}
	return logSize, nil
}

func (f *file) lose(path string) error {
	f.lost = fmt.Errorf("%w: %s: nothing is written until it is opened again", ErrFileReplaced, path)
	return f.lost
}
