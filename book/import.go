package book

import (
	"bufio"
	"bytes"
	"context"
	stdsql "database/sql"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/sql"

	"daybook/database"
	"daybook/ent"
	"daybook/ent/message"
	"daybook/ent/schema"
)

// maxLine is the length of the longest line: JSON may spell a byte with six.
const maxLine = 6*(schema.MaxValue+MaxKey) + 1<<10

// Input is the lines of an export that were found good, in a temporary file. It must be closed.
type Input struct {
	file     *os.File
	size     int64 // entries
	greatest int   // number
}

// Close removes the file.
func (in *Input) Close() error {
	err := in.file.Close()
	_ = os.Remove(in.file.Name()) // there is none any more, except on Windows
	return err
}

// Read reads lines of an export, or of /?all&format=ndjson, and checks each by itself. It calls refuse with the number of each bad
// line and the reason, and progress with the bytes that it has read. Nothing waits for it: its reader may be slow.
func Read(from io.Reader, refuse func(line int, reason error), progress func(done int64)) (*Input, error) {
	file, err := os.CreateTemp("", "daybook-import-")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(file.Name()) // it goes with the process, however that ends, except on Windows
	in := &Input{file: file}
	if err := in.read(from, refuse, progress); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return in, nil
}

func (in *Input) read(from io.Reader, refuse func(line int, reason error), progress func(done int64)) (err error) {
	buffered := bufio.NewWriterSize(in.file, 1<<16)
	encoder := gob.NewEncoder(buffered)
	lines, parser := lines{from: bufio.NewReaderSize(from, 1<<16)}, parser{}
	for number := 1; err == nil; number++ {
		var line []byte
		if line, err = lines.next(); err != nil && err != io.EOF {
			return fmt.Errorf("read line %d: %w", number, err)
		}
		progress(lines.done)
		if len(line) > maxLine {
			refuse(number, errors.New("the line is longer than any message"))
			continue
		}
		if line = bytes.TrimSpace(line); number == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff")) // a byte order mark
		}
		if len(line) == 0 {
			continue
		}
		e, refused := parser.parse(line)
		if refused != nil {
			refuse(number, refused)
			continue
		}
		e.Line = number
		in.size++
		in.greatest = max(in.greatest, e.ID)
		if err := encoder.Encode(e); err != nil {
			return err
		}
	}
	return buffered.Flush()
}

// lines reads lines.
type lines struct {
	from *bufio.Reader
	line []byte
	done int64 // bytes
}

// next returns the next line, and io.EOF with the last one. It reads no more than the begin of a line that is too long.
func (l *lines) next() (line []byte, err error) {
	l.line = l.line[:0]
	for err = bufio.ErrBufferFull; err == bufio.ErrBufferFull; {
		var part []byte
		part, err = l.from.ReadSlice('\n')
		l.done += int64(len(part))
		if len(l.line) <= maxLine {
			l.line = append(l.line, part...)
		}
	}
	return l.line, err
}

// Imported is how many entries were imported, or were not because they were here.
type Imported struct {
	Messages, Removals int
	Known              int // were here already
	Removed            int // messages that were removed here, and stay so
}

// Import adds the entries to the log, all in one transaction: if it is stopped or fails, the database is as it was. They keep their
// numbers, times and keys. It calls refuse with the lines whose entries contradict what is here, and progress with how many it has
// looked at. Servers with the same database may be running: on SQLite they cannot record meanwhile. After any error, import again.
func (in *Input) Import(
	ctx context.Context, driver dialect.Driver, refuse func(line int, reason error), progress func(done, total int64),
) (imported Imported, err error) {
	if _, err := in.file.Seek(0, io.SeekStart); err != nil {
		return imported, err
	}
	// READ COMMITTED: on PostgreSQL, each statement sees what others have recorded before it.
	tx, err := ent.NewClient(ent.Driver(driver)).BeginTx(database.Unlimited(ctx), &stdsql.TxOptions{Isolation: stdsql.LevelReadCommitted})
	if err != nil {
		return imported, err
	}
	i := &importer{Imported: &imported, tx: tx, dialect: driver.Dialect(), refuse: refuse}
	if err = i.importAll(ctx, in, progress); err != nil {
		err = errors.Join(err, tx.Rollback())
	} else {
		err = tx.Commit()
	}
	switch {
	case database.IsUnknown(err):
		return imported, fmt.Errorf("it is not known whether the messages were imported: import again, what is there is skipped (%w)", err)
	case database.IsConstraint(err):
		return imported, fmt.Errorf("nothing was imported, because another process has recorded the same meanwhile: import again (%w)", err)
	case err != nil:
		return imported, fmt.Errorf("nothing was imported: %w", err)
	}
	_ = database.Notify(ctx, driver, Channel) // servers also look each second
	return imported, nil
}

// importer is one call of Import.
type importer struct {
	*Imported
	tx       *ent.Tx
	dialect  string
	greatest int // number in the log
	refuse   func(line int, reason error)
}

func (i *importer) importAll(ctx context.Context, in *Input, progress func(done, total int64)) (err error) {
	if i.dialect == dialect.Postgres {
		if err := i.reserve(ctx, in.greatest); err != nil {
			return err
		}
	}
	if i.greatest, err = i.tx.Message.Query().Order(NewestFirst).FirstID(ctx); ent.MaskNotFound(err) != nil {
		return err
	}
	decoder := gob.NewDecoder(bufio.NewReaderSize(in.file, 1<<16))
	for done := int64(0); done < in.size; progress(done, in.size) {
		chunk, err := nextChunk(decoder, in.size-done)
		if err == nil {
			err = i.importChunk(ctx, chunk)
		}
		if err != nil {
			return err
		}
		done += int64(len(chunk))
	}
	return nil
}

// reserve makes others record with greater numbers than those that are imported. The numbers stay given out, even if the import
// is rolled back.
func (i *importer) reserve(ctx context.Context, greatest int) error {
	for _, statement := range []string{
		// It inserts nothing, but its trigger tells followers to wait: see ent/migrations/postgres/0004_order.sql.
		"INSERT INTO messages (value, recorded_at) SELECT value, recorded_at FROM messages WHERE false",
		"SAVEPOINT numbers",
		// Those that have a number, and may be about to record with it, end before this. The rollback undoes the lock, not setval.
		"LOCK TABLE messages IN SHARE ROW EXCLUSIVE MODE",
		fmt.Sprintf("SELECT setval('messages_id_seq', %d) WHERE %[1]d > coalesce(pg_sequence_last_value('messages_id_seq'), 0)", greatest),
		"ROLLBACK TO SAVEPOINT numbers",
	} {
		if _, err := i.tx.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("reserve numbers: %w", err)
		}
	}
	return nil
}

// What is imported at a time: entries, and bytes of their text.
const chunkSize, chunkText = 500, 1 << 20

// nextChunk reads the next entries, of which there are still so many.
func nextChunk(decoder *gob.Decoder, rest int64) (chunk []entry, err error) {
	for text := 0; int64(len(chunk)) < min(rest, chunkSize) && text < chunkText; {
		var e entry
		if err := decoder.Decode(&e); err != nil {
			return nil, fmt.Errorf("read the temporary file: %w", err)
		}
		text += len(e.Value)
		chunk = append(chunk, e)
	}
	return chunk, nil
}

// importChunk imports the entries that the log does not have, in their order.
func (i *importer) importChunk(ctx context.Context, chunk []entry) error {
	here, err := i.known(ctx, chunk)
	if err != nil {
		return err
	}
	var added []entry
	var removed []int
	for _, e := range chunk {
		err := here.conflict(e)
		switch {
		case err == errKnown:
			i.Known++
		case err == errRemoved:
			i.Removed++
		case err != nil:
			i.refuse(e.Line, err)
		default:
			if e.Removes != 0 {
				removed = append(removed, e.Removes)
				added = slices.DeleteFunc(added, func(a entry) bool { return a.ID == e.Removes })
			}
			here.add(e)
			added = append(added, e)
		}
	}
	if len(removed) > 0 {
		if _, err := i.tx.Message.Delete().Where(message.IDIn(removed...)).Exec(ctx); err != nil {
			return err
		}
	}
	return i.insert(ctx, added)
}

// insert inserts entries as they are, which ent's own builders would do one by one in memory.
func (i *importer) insert(ctx context.Context, entries []entry) error {
	if len(entries) == 0 {
		return nil
	}
	rows := sql.Dialect(i.dialect).Insert(message.Table).Columns(message.FieldID, message.FieldValue, message.FieldRecordedAt,
		message.FieldIdempotencyKey, message.FieldFolded, message.FieldRemoves)
	for _, e := range entries {
		value := e.Value
		if e.Removes != 0 {
			value = NotFound{e.Removes, true}.Error()
			i.Removals++
		} else {
			i.Messages++
		}
		rows.Values(e.ID, value, e.RecordedAt, stdsql.NullString{String: e.Key, Valid: e.Key != ""}, schema.Fold(value),
			stdsql.NullInt64{Int64: int64(e.Removes), Valid: e.Removes != 0})
		i.greatest = max(i.greatest, e.ID)
	}
	statement, args := rows.Query()
	_, err := i.tx.ExecContext(ctx, statement, args...)
	return err
}
