// Package connections bounds how many connections are open.
//
//   - limiter.go admits them, and counts them.
//   - evict.go finds those that go first when others come.
//   - connection.go is one of them, for those who serve it.
package connections
