//go:build !linux

package storetest

import "os/exec"

// inMemory is a folder in memory: here we know of none.
func inMemory() string { return "" }

// inOwnGroup keeps signals for this process's group from a command, where the system can
// do that.
func inOwnGroup(*exec.Cmd) {}

// dieWithParent makes a command end when this process does, where the system can do that.
func dieWithParent(*exec.Cmd) {}
