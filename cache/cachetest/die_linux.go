package cachetest

import "syscall"

// DieWithParent makes a child process end when the test process does.
func DieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
