package main

import (
	"os"
	"sync"

	"p2pmodel/core/shard/service"
)

// lines is a file to which lines are added, and which others may move away:
// SIGHUP opens it anew.
type lines struct {
	mu   sync.Mutex
	name string
	file *os.File
}

func openLines(s *service.Service, what, name string) (*lines, error) {
	l := &lines{name: name}
	s.Watch(what, l.open)
	return l, l.open()
}

func (l *lines) open() error {
	file, err := os.OpenFile(l.name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
	}
	l.file = file
	return nil
}

// Write implements io.Writer.
func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Write(line)
}
