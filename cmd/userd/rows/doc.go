// Package rows reads and writes users as rows of files: CSV and JSON Lines, and the files of
// other systems. It knows no server.
//
//   - rows.go: what a reader and a writer are, and which there are.
//   - csv.go, jsonlines.go: our own two formats, which are written too.
//   - firebase.go, keycloak.go, auth0.go, elsewhere.go: the files of others, which are read.
//   - file.go: files that may be compressed, or begin with a byte order mark.
package rows
