// Package connections bounds how many connections are open, and how long something may wait on
// one to be read.
//
//   - limiter.go admits them, and counts them.
//   - evict.go finds those that go first when others come; unread.go, those whose peers do not
//     read.
//   - connection.go is one of them, for those who serve it.
package connections
