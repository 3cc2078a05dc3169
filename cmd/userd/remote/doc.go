// Package remote is the commands that talk to a running server: get, list, search, create,
// update, delete, watch, import and export.
//
//   - target.go: which server, and with which token; how its errors are told.
//   - users.go, search.go, change.go, watch.go: the commands.
//   - import.go, importfile.go, importstate.go, export.go, progress.go: many users, from and
//     to files, whose formats are those of package rows.
//   - printer.go: users as a table, as lines for other programs, or as JSON.
package remote
