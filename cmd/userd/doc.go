// Userd is the user service.
//
//   - main.go, settings.go and environment.go: the commands, and their flags from command
//     line, environment and files, without showing what is secret (database.go has the forms
//     of --database). Package cli has how commands end.
//   - serve.go, config.go: the server, from its flags to its end; Shutdown of package
//     server has the order in which it stops. banner.go: what it says first. connections.go and
//     files_unix.go: how many connections it takes. gc.go: how often it collects garbage.
//     certificate.go, audit.go and tracing.go: its certificate, where the audit log goes, and
//     where spans go, which spans.go counts.
//   - migrate.go, copy.go, cachecheck.go, healthcheck.go, token.go: the other commands.
//   - Package remote has the commands that talk to a running server.
//   - output.go: lines that are written without waiting for whoever reads them.
package main
