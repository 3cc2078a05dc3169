//go:build !linux

package cachetest

import "syscall"

// dieWithParent makes a child process end when the test process does, where the
// system can do that.
func dieWithParent() *syscall.SysProcAttr { return nil }
