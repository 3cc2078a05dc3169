// Package telemetry is what operators see of the server: metrics, spans, and a line for each
// call that is slow to explain otherwise. It names no user by anything but an id.
package telemetry
