// Package watch serves watchers of users: those who follow the change log.
//
//   - watch.go: what a watcher is told, from a cursor on. One that does not read is ended as
//     other streams are, by package gather (slowreader.go there).
//   - heartbeat.go tells when one has been told nothing for too long.
//   - feed.go reads the change log once for all of them.
//   - gate.go lets those whose cursor is behind catch up, in the time that other calls leave,
//     and refuses those for whom it would be too little.
package watch
