package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// backupPages is how many pages are copied between two rests.
const backupPages = 100

// backupSettings are those of the connection that a backup reads with. It changes nothing, not even the journal mode.
var backupSettings = fmt.Sprintf("PRAGMA busy_timeout = %d; PRAGMA query_only = ON; SELECT count(*) FROM sqlite_master",
	busyTimeout.Milliseconds())

// Backup copies the SQLite database that url names to the file target, while any process uses it. The copy is one snapshot, with
// every transaction that was committed before the call. It is one file, with the permissions of the database, and no other belongs
// to it.
//
// A file at target is replaced when the copy is on disk. Until then, and after an error or the end of ctx, it is as it was. The
// copy is written to .NAME.*.partial in the same folder, which stays there only if the process is killed.
//
// If progress is not nil, it is called with bytes while the copy grows. After each step, Backup rests as long as the step took, so
// that those who record have the disk and the processor. The database's write-ahead log grows by what they record meanwhile.
func Backup(ctx context.Context, url, target string, progress func(done, total int64)) error {
	if strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://") {
		return errors.New(`a PostgreSQL database is backed up by its own program: pg_dump --dbname="$DATABASE_URL" > FILE`)
	}
	path, err := filepath.Abs(url)
	if err == nil {
		target, err = filepath.Abs(target)
	}
	if err == nil {
		err = copyFile(ctx, path, target, progress)
	}
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	return nil
}

// copyFile copies the database at path to target. Only SQLite may open the database's file: when a process closes a file, it loses
// all its locks on it, those of SQLite's other connections, too.
func copyFile(ctx context.Context, path, target string, progress func(done, total int64)) error {
	info, err := os.Stat(path)
	if err == nil {
		err = mustBeFile(path, info)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("there is no database %s", path)
	}
	if err == nil {
		err = checkTarget(path, target)
	}
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*.partial")
	if err != nil {
		return explained{explain(target, err), err}
	}
	defer os.Remove(temporary.Name()) // fails after it was renamed
	defer temporary.Close()
	if err := copyPages(ctx, path, temporary.Name(), progress); err != nil {
		return err
	}
	if err := errors.Join(temporary.Chmod(info.Mode().Perm()), temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary.Name(), target); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(target))
}

// mustBeFile returns an error for what is not an ordinary file.
func mustBeFile(path string, info fs.FileInfo) error {
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		return fmt.Errorf("%s is a folder: use the path of a file in it", path)
	case mode&fs.ModeSymlink != 0:
		return fmt.Errorf("%s is a symbolic link: use the path of the file that it leads to", path)
	}
	return fmt.Errorf("%s is not a file", path)
}

// checkTarget refuses to replace a part of the database at path, or what is not an ordinary file.
func checkTarget(path, target string) error {
	folder, err := filepath.EvalSymlinks(filepath.Dir(target))
	if err != nil {
		return explained{explain(target, err), err}
	}
	database, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	existing, _, targetErr := identify(target) // follows links
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		part, _, err := identify(database + suffix)
		same := err == nil && targetErr == nil && part.same(existing)
		if same || filepath.Join(folder, filepath.Base(target)) == database+suffix {
			return fmt.Errorf("%s is the database itself, or a part of it: use another path", target)
		}
	}
	for _, suffix := range []string{"-wal", "-journal"} { // which SQLite would take for a part of the copy, and write into it
		if _, err := os.Lstat(target + suffix); err == nil {
			return fmt.Errorf("a program has %s open, or was killed while it had: close it, or delete %[1]s%[2]s", target, suffix)
		}
	}
	if info, err := os.Lstat(target); err == nil {
		return mustBeFile(target, info)
	}
	return nil // there is none, or its folder will say why not
}

// copyPages copies a snapshot of the database at path to the empty file at to.
func copyPages(ctx context.Context, path, to string, progress func(done, total int64)) error {
	// With mode=ro, the log that SQLite creates for reading a file that nobody uses would stay there.
	db := connectTo(path, connector{options: "&mode=rw", settings: backupSettings})
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return explained{explain(path, err), err}
	}
	defer conn.Close()
	var pageSize int64
	if err := conn.QueryRowContext(ctx, "PRAGMA page_size").Scan(&pageSize); err != nil {
		return err
	}
	// Without a transaction around all steps, each write of another process would begin the copy anew.
	if _, err := conn.ExecContext(ctx, "BEGIN; SELECT count(*) FROM sqlite_master"); err != nil {
		return err
	}
	return conn.Raw(func(from any) error {
		pages, err := newPageCopy(from.(driver.Conn), fileName(to, copyOptions))
		if err != nil {
			return err
		}
		err = pages.all(ctx, func(done, total int) {
			if progress != nil {
				progress(int64(done)*pageSize, int64(total)*pageSize)
			}
		})
		if finishErr := pages.finish(); err == nil {
			err = finishErr
		}
		return err
	})
}

// all copies all pages. VACUUM INTO, which cannot rest, made recording's 99th percentile up to eight times as long on two busy
// cores. With rests, it was less than twice as long (BenchmarkRecordWhileBackedUp).
func (p *pageCopy) all(ctx context.Context, progress func(done, total int)) error {
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		begun := time.Now()
		var err error
		if more, err = p.step(backupPages); err != nil {
			return err
		}
		progress(p.PageCount()-p.Remaining(), p.PageCount())
		time.Sleep(time.Since(begun))
	}
	return nil
}

// syncFolder flushes the names of the files in a folder.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil // which has no such call
	}
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
