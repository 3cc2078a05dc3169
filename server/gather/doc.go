// Package gather sends streams of responses in larger pieces than their messages, and ends
// those whose caller does not read.
//
//   - gather.go gathers messages until a buffer is full, a moment has passed, or the handler
//     is about to wait and calls Flush.
//   - encoded.go gathers messages that are encoded already, past Connect.
//   - slowreader.go ends streams whose caller does not read them (SLOW_CONSUMER).
package gather
