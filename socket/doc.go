// Package socket reads from and writes to sockets without telling the scheduler.
//
// A goroutine that enters a system call gives its processor away as soon as the call takes
// longer than 20 µs, since it may block for any time. Calls for sockets of package net never
// block: those that have to wait are parked by the poller before. But a write to a socket of
// the same machine does the work of its reader's side too, and takes about as long. On a
// server with one processor, most of what such calls cost then is to hand it from one thread
// to another and back, and to wake the thread that looks for calls that take long.
//
//   - conn.go is the connection; trywriter.go is what it can do beside those of package net.
//   - raw_linux.go has the system calls. Where the race detector looks, or the system is
//     another one, those of package syscall are used (raw_unix.go), or net's (other.go).
package socket
