//go:build !windows

package remote

import (
	"errors"
	"os"
	"syscall"
)

// hold takes the lock of a part, which ends with the process, and reports whether the part is
// still there. Where files have no locks nobody removes one that was not held.
func hold(part *os.File) bool {
	_ = syscall.Flock(int(part.Fd()), syscall.LOCK_EX)
	held, err := part.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(part.Name())
	return err == nil && os.SameFile(held, named)
}

// removeUnheld removes a part that nobody holds. Whoever has made it and holds it only then finds
// that it is gone.
func removeUnheld(name string) {
	part, err := os.Open(name)
	if err != nil {
		return
	}
	defer part.Close()
	if syscall.Flock(int(part.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		_ = os.Remove(name)
	}
}

// become gives a part the name of the file, and holds it until it has that.
func become(part *os.File, path string) error {
	return errors.Join(os.Rename(part.Name(), path), part.Close())
}
