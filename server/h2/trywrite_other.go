//go:build !unix

package h2

import "net"

// tryWriter writes nothing where sockets cannot be tried.
type tryWriter struct{}

func newTryWriter(net.Conn) *tryWriter { return nil }

func (*tryWriter) write([]byte) int { return 0 }
