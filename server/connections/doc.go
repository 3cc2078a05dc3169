// Package connections bounds how many connections are open, how old they become, and how long
// something may wait on one to be read.
//
//   - limiter.go admits them, and counts them.
//   - evict.go finds those that go first when others come; unread.go, those whose peers do not
//     read.
//   - age.go has their peers open others when they are old.
//   - start.go says what has come where a proxy or a client speaks something else.
//   - connection.go is one of them, for those who serve it.
package connections
