// Package regular reads files that are looked at again and again, such as those of certificates
// and callers.
package regular

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// maxBytes is more than such a file has.
const maxBytes = 4 << 20

// Read reads a file of at most 4 MiB. A pipe is opened without waiting for whoever writes to it,
// and refused: what is read from it is there once.
func Read(path string) (string, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() && !info.IsDir() { // Reading says what a folder is.
		return "", fmt.Errorf("%s is no regular file", path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxBytes {
		return "", fmt.Errorf("%s is larger than 4 MiB", path)
	}
	return string(text), nil
}
