package database

import (
	"context"
	"database/sql"
	"errors"
)

// session is the writer's connection, with the statements that begin and end its transactions. They are prepared once: to
// prepare one takes longer than to run it, COMMIT aside.
type session struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
}

// exec runs such a statement, which nobody may interrupt.
func (s *session) exec(statement string) error {
	ctx := context.Background()
	prepared := s.prepared[statement]
	if prepared == nil {
		var err error
		if prepared, err = s.conn.PrepareContext(ctx, statement); err != nil {
			return err
		}
		s.prepared[statement] = prepared
	}
	_, err := prepared.ExecContext(ctx)
	return err
}

// close gives the connection back, when the rows that are read from it are closed.
func (s *session) close() error {
	var errs []error
	for _, prepared := range s.prepared {
		errs = append(errs, prepared.Close())
	}
	return errors.Join(append(errs, s.conn.Close())...)
}

// connect opens the session for the holder of the turn, if it is not open.
func (w *writer) connect(ctx context.Context) error {
	if w.file.lost != nil {
		return w.file.lost
	}
	if w.session != nil {
		return nil
	}
	conn, err := w.db.Conn(ctx)
	if err == nil {
		w.session = &session{conn: conn, prepared: map[string]*sql.Stmt{}}
	}
	return err
}

// disconnect closes the session, if it is open.
func (w *writer) disconnect() error {
	if w.session == nil {
		return nil
	}
	s := w.session
	w.session = nil
	return s.close()
}

// rollBack leaves the session without a transaction, or closes it.
func (w *writer) rollBack() error {
	_, err := rollBack(w.session.conn)
	if err != nil {
		return errors.Join(err, w.disconnect())
	}
	return nil
}

// close closes the session: at once, or when the last holder of the turn has given it back.
func (w *writer) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.taken {
		return nil
	}
	return w.disconnect()
}
