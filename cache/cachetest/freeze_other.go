//go:build !unix

package cachetest

// Freeze stops the server: its connections stay and nothing answers. Here that cannot be
// done.
func (r *Redis) Freeze() { r.t.Fatal("this system cannot stop a process for a while") }

// Thaw lets a frozen server run again.
func (r *Redis) Thaw() {}
