// Package telemetry is what operators see of the server: metrics, spans, and log lines of
// calls. It names no user by anything but an id.
package telemetry
