package database

import (
	"log/slog"
	"sync"
	"time"

	"ariga.io/atlas/sql/migrate"
)

// progressInterval is the time between two records of a statement that takes long.
const progressInterval = 2 * time.Second

// progress logs which statement of the migrations runs, if it takes long. Atlas tells it.
type progress struct {
	log    *slog.Logger
	file   string
	number int    // of the statement in the file
	end    func() // stops logging the last one
}

func (p *progress) Log(entry migrate.LogEntry) {
	switch entry := entry.(type) {
	case migrate.LogFile:
		p.file, p.number = entry.File.Name(), 0
	case migrate.LogStmt:
		p.end()
		p.number++
		p.end = p.every(progressInterval, slog.String("file", p.file), slog.Int("statement", p.number))
	}
}

// every logs the statement at each interval until the returned function is called.
func (p *progress) every(interval time.Duration, statement ...any) (stop func()) {
	begun, done := time.Now(), make(chan struct{})
	var logging sync.WaitGroup
	logging.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(interval):
				p.log.Info("migrating", append(statement, slog.Duration("for", time.Since(begun)))...)
			}
		}
	})
	return func() {
		close(done)
		logging.Wait()
		p.end = func() {}
	}
}
