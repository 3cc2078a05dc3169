package cachetest

import "syscall"

// dieWithParent makes a child process end when the test process does.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
