package connections

import (
	"bytes"
	"time"
)

// startLogInterval is the least time between two lines about connections that begin with the same
// that is not for this port: whoever checks a server does it again and again.
const startLogInterval = time.Minute

// start is what a connection may begin with that is not for its port.
type start int

const (
	proxyV1 start = iota
	proxyV2
	tlsToPlain
	plainToTLS
	starts
)

// startTexts are what was received, and what to do about it.
var startTexts = [starts]struct{ cause, reason string }{
	proxyV1:    {"PROXY protocol, version 1", "it is not spoken here: turn it off for this port (of HAProxy: send-proxy, of nginx: proxy_protocol)"},
	proxyV2:    {"PROXY protocol, version 2", "it is not spoken here: turn it off for this port (of HAProxy: send-proxy-v2, of a load balancer for TCP: proxy protocol)"},
	tlsToPlain: {"TLS", "this port has none: call it without, as http:// or plaintext, or give the service --tls-cert and --tls-key"},
	plainToTLS: {"HTTP without TLS", "this port has TLS: call it by https://, and have a proxy speak TLS to it"},
}

// startOf tells what the first bytes of a connection are that are not for a port with TLS, or
// without.
func startOf(begin []byte, hasTLS bool) (start, bool) {
	line, _, _ := bytes.Cut(begin, []byte("\n"))
	switch {
	case bytes.HasPrefix(begin, []byte("PROXY ")) && !bytes.Contains(line, []byte(" HTTP/")):
		return proxyV1, true
	case bytes.HasPrefix(begin, []byte("\r\n\r\n\x00\r\nQUIT\n")):
		return proxyV2, true
	case !hasTLS && bytes.HasPrefix(begin, []byte("\x16\x03")):
		return tlsToPlain, true
	case hasTLS && bytes.Contains(line, []byte(" HTTP/")):
		return plainToTLS, true
	}
	return 0, false
}

// hear looks at what a connection begins with, which is nothing as long as nothing has come.
func (c *connection) hear(begin []byte) {
	c.heard = len(begin) > 0
	if what, wrong := startOf(begin, c.connections.config.TLS); wrong && c.connections.isNews(what) {
		c.connections.config.Logger.Warn("a connection begins with what this port does not take",
			"cause", startTexts[what].cause, "reason", startTexts[what].reason,
			"peer", c.RemoteAddr().String(), "listen", c.LocalAddr().String())
	}
}

// isNews reports whether it is time for a line about a start.
func (c *Limiter) isNews(what start) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if !c.told[what].IsZero() && now.Sub(c.told[what]) < startLogInterval {
		return false
	}
	c.told[what] = now
	return true
}
