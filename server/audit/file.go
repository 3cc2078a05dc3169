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
	size int64 // Of the file when they were the last in it.
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
// it comes again, or comes whole where the file was cut meanwhile. One that an earlier File
// has left so stays for itself.
func (f *File) Write(lines []byte) error {
	if f.torn {
		if _, err := io.WriteString(f.file, "\n"); err != nil {
			return err
		}
		f.torn = false
	}
	if f.done > 0 && f.length() < f.size {
		f.beginLine()
	}
	n, err := f.file.Write(lines[f.done:])
	if err != nil {
		f.stopped(lines, f.done+n)
		return err
	}
	f.done = 0
	return nil
}

// stopped notes how many bytes of the lines are in the file, and no more.
func (f *File) stopped(lines []byte, done int) {
	f.last, f.done, f.size = lines, done, f.length()
}

// length is that of the file, 0 where it is not known.
func (f *File) length() int64 {
	info, err := f.file.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// beginLine has the line of which there was a part come whole.
func (f *File) beginLine() { f.done = bytes.LastIndexByte(f.last[:f.done], '\n') + 1 }

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
		f.beginLine()
	}
	old := f.file
	f.file = next
	return old.Close()
}

// Close implements Output.
func (f *File) Close() error { return f.file.Close() }
