//go:build unix

package cachetest

import "syscall"

// Freeze stops the server with SIGSTOP: its connections stay and nothing answers.
func (r *Redis) Freeze() { r.signal(syscall.SIGSTOP) }

// Thaw lets a frozen server run again.
func (r *Redis) Thaw() { r.signal(syscall.SIGCONT) }
