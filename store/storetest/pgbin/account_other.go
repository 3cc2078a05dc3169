//go:build !unix

package pgbin

import "os/exec"

// Give gives a folder to the account that servers run as, which here is this process's.
func Give(string) error { return nil }

// RunAsServer has a command run as the account that servers run as, and reports whether
// that is another than this process's. Here it is not.
func RunAsServer(*exec.Cmd) bool { return false }
