//go:build !windows

package sqlite

import (
	"io/fs"
	"os"
	"syscall"
)

// tryLock takes a lock that ends with the process. It is none of those that SQLite
// has on its own files.
func tryLock(file *os.File) error {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// unlock takes the lock from every copy of the descriptor.
func unlock(file *os.File) error {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
}

// links is how many names a file has.
func links(info fs.FileInfo) uint64 {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 1
	}
	return uint64(stat.Nlink)
}
