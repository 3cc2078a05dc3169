// Package remote is the commands that talk to a running server: get, list, search, create,
// update, delete, watch, import and export.
//
//   - target.go: which server, and with which token; how its errors are told. connection.go: how
//     it is reached, and when it counts as lost.
//   - users.go, search.go, change.go, watch.go: the commands.
//   - import.go: the import of some files, and what it ends with. importfile.go: of one file,
//     and what becomes of its rows; importfailures.go: those that were not taken;
//     importstate.go: how far it has come, for --resume. export.go: users to a file; part.go: the
//     file while it is written. progress.go shows how far both are. Formats of files are those of
//     package rows.
//   - printer.go: users as a table, as lines for other programs, or as JSON.
package remote
