//go:build !unix

package edge

import "net"

// hasWaiting tells of no connections where sockets cannot be asked.
func hasWaiting(net.Listener) bool { return false }
