package cache

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/rueidis"

	"github.com/example/userd/socket"
)

// dialer opens connections to Redis, knows why one cannot be opened, and can drop
// all: rueidis then dials anew, and finds the node for which the address stands now.
type dialer struct {
	network string // "tcp" or "unix".

	mu   sync.Mutex
	open map[*link]struct{}
}

// dialing makes a client with this option dial through the dialer that it returns.
func dialing(option *rueidis.ClientOption) *dialer {
	d := &dialer{network: "tcp", open: make(map[*link]struct{})}
	if option.DialCtxFn != nil { // As ParseURL has it for unix://.
		d.network = "unix"
	}
	option.DialCtxFn = d.dial
	return d
}

// dial is rueidis's DialCtxFn.
func (d *dialer) dial(ctx context.Context, address string, settings *net.Dialer, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, settings.Timeout)
	defer cancel()
	below, err := settings.DialContext(ctx, d.network, address)
	if err != nil {
		return nil, blame(dialCause(err), err)
	}
	below = socket.Wrap(below)
	l := &link{Conn: below, below: below, dialer: d}
	l.ending.Store(hungUp)
	if config != nil {
		secure := tls.Client(below, named(config, address))
		if err := secure.HandshakeContext(ctx); err != nil {
			below.Close()
			return nil, blame(handshakeCause(err), err)
		}
		l.Conn = secure
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open[l] = struct{}{}
	return l, nil
}

// named is config for the host of an address.
func named(config *tls.Config, address string) *tls.Config {
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	return config
}

// drop closes all connections.
func (d *dialer) drop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for l := range d.open {
		l.below.Close() // Not the TLS connection, which would wait for the peer.
	}
}

func dialCause(err error) *cause {
	var name *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &name):
		return unresolved
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return notListening
	case errors.As(err, &network) && network.Timeout():
		return timedOut
	default:
		return unreachable
	}
}

func handshakeCause(err error) *cause {
	var plain tls.RecordHeaderError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &plain):
		return plainPort
	case errors.As(err, &certificate):
		return badCertificate
	default:
		return tlsFailed
	}
}

// link is a connection that knows what its peer has said until it hung up, which
// rueidis does not tell.
type link struct {
	net.Conn
	below  net.Conn // Without TLS.
	dialer *dialer
	ending atomic.Pointer[cause] // What it means if the peer hangs up now; nil for nothing special.
}

// replyTypes are the bytes with which replies of Redis begin.
const replyTypes = "+-:$*_#,(!=%~>|"

// Read looks at what comes first.
func (l *link) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	why := l.ending.Load()
	switch {
	case why == nil:
		return n, err
	case n == 0:
		return n, l.hungUp(err)
	case why == hungUp && strings.IndexByte(replyTypes, p[0]) < 0:
		return 0, blame(notRedis, io.ErrUnexpectedEOF)
	case why == hungUp && p[0] == '-':
		l.ending.Store(greeting(p[1:n]))
	default:
		l.ending.Store(nil)
	}
	return n, err
}

// Write looks at whether the peer has hung up.
func (l *link) Write(p []byte) (int, error) {
	n, err := l.Conn.Write(p)
	if err != nil {
		err = l.hungUp(err)
	}
	return n, err
}

// greeting is why a Redis hangs up that has begun with an error: it takes nobody.
func greeting(text []byte) *cause {
	word, _, _ := strings.Cut(string(text), " ")
	if c := byCode[word]; c != nil {
		return c
	}
	return noClients
}

// hungUp blames the peer where the connection ends before it was good for anything.
func (l *link) hungUp(err error) error {
	var alert tls.AlertError
	why := l.ending.Load()
	switch {
	case why == nil:
		return err
	case errors.As(err, &alert):
		return blame(tlsFailed, err)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return blame(why, err)
	default:
		return err
	}
}

// Close closes the connection; closing twice is fine.
func (l *link) Close() error {
	l.dialer.mu.Lock()
	delete(l.dialer.open, l)
	l.dialer.mu.Unlock()
	return l.Conn.Close()
}

// askTimeout is for asking a port what it speaks.
const askTimeout = 250 * time.Millisecond

// speaksTLS reports whether a port begins a TLS handshake.
func speaksTLS(address string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	connection, err := (&tls.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return handshakeCause(err) == badCertificate
	}
	connection.Close()
	return true
}

// speaksPlainly reports whether a port answers as Redis does without TLS.
func speaksPlainly(address string) bool {
	connection, err := net.DialTimeout("tcp", address, askTimeout)
	if err != nil {
		return false
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(askTimeout))
	_, _ = connection.Write([]byte("PING\r\n"))
	var first [1]byte
	n, _ := connection.Read(first[:])
	return n == 1 && strings.IndexByte(replyTypes, first[0]) >= 0
}
