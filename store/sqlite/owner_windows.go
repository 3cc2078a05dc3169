package sqlite

import (
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// tryLock takes a lock that ends with the process, on a byte behind what is written.
func tryLock(file *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	return windows.LockFileEx(windows.Handle(file.Fd()), flags, 0, 1, 0, &windows.Overlapped{Offset: 1 << 20})
}

// links is how many names a file has, which is not asked here.
func links(fs.FileInfo) uint64 { return 1 }

// unlock has nothing to do: the lock ends with the file's handle, which no other process has.
func unlock(*os.File) error { return nil }
