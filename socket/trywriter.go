package socket

// TryWriter is a connection that can write without waiting, as a Conn can.
type TryWriter interface {
	// TryWrite writes what the socket takes at once, and returns how much that was. An error comes
	// again when the rest is written.
	TryWrite(p []byte) int
}
