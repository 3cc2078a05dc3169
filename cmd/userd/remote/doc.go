// Package remote is the commands that talk to a running server: get, list, search, create,
// update, delete and watch.
//
//   - target.go: which server, and with which token; how its errors are told.
//   - users.go, search.go, change.go, watch.go: the commands.
//   - printer.go: users as a table, as lines for other programs, or as JSON.
package remote
