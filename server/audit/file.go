package audit

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// File is an Output that appends to a file.
type File struct {
	path string
	file *os.File
	torn bool // The file ends with a part of a line, of which nothing more comes.
	done int  // Bytes of the lines that come again which are in the file.
	last []byte
}

// OpenFile opens a file, or makes one that only its owner can read.
func OpenFile(path string) (*File, error) {
	file, err := open(path)
	return &File{path: path, file: file, torn: err == nil && isTorn(file)}, err
}

func open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
}

// isTorn reports whether a file ends in the middle of a line: its writer was ended while the
// disk was full, or with the machine. Of what cannot be read that is not known.
func isTorn(file *os.File) bool {
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return false
	}
	reader, err := os.Open(file.Name())
	if err != nil {
		return false
	}
	defer reader.Close()
	var last [1]byte
	_, err = reader.ReadAt(last[:], info.Size()-1)
	return err == nil && last[0] != '\n'
}

// Write implements Output. A line of which a full disk has taken a part is finished when
// it comes again. One that an earlier File has left so stays for itself.
func (f *File) Write(lines []byte) error {
	if f.torn {
		if _, err := io.WriteString(f.file, "\n"); err != nil {
			return err
		}
		f.torn = false
	}
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
	if !os.SameFile(before, now) {
		f.torn = isTorn(next)
		f.done = bytes.LastIndexByte(f.last[:f.done], '\n') + 1
	}
	old := f.file
	f.file = next
	return old.Close()
}

// Close implements Output.
func (f *File) Close() error { return f.file.Close() }
