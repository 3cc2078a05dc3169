//go:build !linux

package cachetest

import "syscall"

// DieWithParent makes a child process end when the test process does, where the
// system can do that.
func DieWithParent() *syscall.SysProcAttr { return nil }
