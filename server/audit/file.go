package audit

import (
	"bytes"
	"errors"
	"os"
)

// File is an Output that appends to a file.
type File struct {
	path string
	file *os.File
	done int // Bytes of the lines that come again which are in the file.
	last []byte
}

// OpenFile opens a file, or makes one that only its owner can read.
func OpenFile(path string) (*File, error) {
	file, err := open(path)
	return &File{path: path, file: file}, err
}

func open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
}

// Write implements Output. A line of which a full disk has taken a part is finished when
// it comes again.
func (f *File) Write(lines []byte) error {
	n, err := f.file.Write(lines[f.done:])
	f.done += n
	f.last = lines
	if err == nil {
		f.done = 0
	}
	return err
}

// Reopen implements Output. A line of which the file of before has a part comes to the new
// one whole.
func (f *File) Reopen() error {
	next, err := open(f.path)
	if err != nil {
		return err
	}
	before, statErr := f.file.Stat()
	now, err := next.Stat()
	if err = errors.Join(statErr, err); err != nil {
		return errors.Join(err, next.Close())
	}
	if f.done > 0 && !os.SameFile(before, now) {
		f.done = bytes.LastIndexByte(f.last[:f.done], '\n') + 1
	}
	old := f.file
	f.file = next
	return old.Close()
}

// Close implements Output.
func (f *File) Close() error { return f.file.Close() }
