package sqlite

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// fileID tells a file from others that have or had its name, or is noFileID. An inode is
// used again soon after a file is removed, so the time of its birth is looked at too.
func fileID(path string) string {
	var stat unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO|unix.STATX_BTIME, &stat); err != nil {
		return noFileID
	}
	return fmt.Sprintf("%x.%x.%x", stat.Ino, stat.Btime.Sec, stat.Btime.Nsec)
}
