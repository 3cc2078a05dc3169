// Package watch serves watchers of users: those who follow the change log.
//
//   - watch.go: what a watcher is told, from a cursor on. One that does not read is ended as
//     other streams are, by package gather.
//   - feed.go reads the change log once for all of them.
//   - gate.go lets those that are behind catch up with what time others leave.
package watch
