//go:build !linux

package postgres

import "syscall"

// limitSilence is for Linux. Elsewhere the system decides how long it sends again.
func limitSilence(_, _ string, _ syscall.RawConn) error { return nil }
