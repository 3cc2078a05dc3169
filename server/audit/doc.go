// Package audit writes a line for each write that was acknowledged: when, by whom, by which
// RPC, to which user, from which version to which. It names users by their ids alone.
//
//   - log.go takes writes from calls, which never wait for it; write.go writes their lines,
//     on a goroutine of its own.
//   - file.go is a file that takes the lines: a full disk loses none as long as there is
//     room in memory, and the file may be moved away.
package audit
