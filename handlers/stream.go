package handlers

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"
)

// A client that reads an answer of unknown length must read each portion of it in time, or it is disconnected.
const (
	streamPortion = 64 << 10 // bytes
	streamTimeout = 10 * time.Second
)

// stream is an answer of unknown length.
type stream struct {
	to       *echo.Response
	format   format
	zone     *time.Location // of the days in events
	shutdown context.Context
	portion  int // bytes that were written since the deadline was set
}

// write writes a part of the answer, portion by portion. With the first one, the headers are sent and nothing is held back any
// more, so an error after that cannot be answered.
func (s *stream) write(part []byte) error {
	if !s.to.Committed {
		s.to.WriteHeader(http.StatusOK)
		s.to.Flush()
		s.portion = streamPortion // so the first chunk sets the deadline
	}
	for chunk := range slices.Chunk(part, streamPortion) {
		if s.portion+len(chunk) > streamPortion {
			if err := s.giveTime(); err != nil {
				return err
			}
		}
		s.portion += len(chunk)
		if _, err := s.to.Write(chunk); err != nil {
			return err
		}
	}
	return nil
}

// giveTime sets the deadline of the next portion, unless limitClient has set the last one.
func (s *stream) giveTime() error {
	s.portion = 0
	if s.shutdown.Err() != nil {
		return nil
	}
	return http.NewResponseController(s.to).SetWriteDeadline(time.Now().Add(streamTimeout))
}
