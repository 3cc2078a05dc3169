//go:build !unix

package cachetest

import "time"

// Now is a clock that all processes on this machine share, in nanoseconds.
func Now() int64 { return time.Now().UnixNano() }
