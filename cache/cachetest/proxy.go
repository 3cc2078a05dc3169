package cachetest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy passes TCP connections on to a server and can lose the bytes of one
// direction, or of both, without closing anything.
type Proxy struct {
	listener net.Listener
	target   atomic.Pointer[Redis]
	loseUp   atomic.Bool
	loseDown atomic.Bool

	mu          sync.Mutex
	connections map[net.Conn]bool
	closed      bool
	wait        sync.WaitGroup
}

// StartProxy runs a proxy to the server, until the end of the test.
func StartProxy(t testing.TB, r *Redis) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: listener, connections: map[net.Conn]bool{}}
	p.target.Store(r)
	p.wait.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// URL is how a client names the server behind the proxy.
func (p *Proxy) URL() string { return "redis://" + p.listener.Addr().String() }

// LoseRequests drops, or passes again, what clients send.
func (p *Proxy) LoseRequests(lose bool) { p.loseUp.Store(lose) }

// LoseAnswers drops, or passes again, what the server sends.
func (p *Proxy) LoseAnswers(lose bool) { p.loseDown.Store(lose) }

// Turn leads new connections to another server, and cuts the old ones off: as an
// address does whose server died.
func (p *Proxy) Turn(to *Redis) {
	p.Move(to)
	p.Cut()
}

// Move leads new connections to another server, and lets the old ones be: as a name
// or a virtual address does that moves to a promoted replica.
func (p *Proxy) Move(to *Redis) { p.target.Store(to) }

// Cut closes all connections; new ones are accepted.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for connection := range p.connections {
		connection.Close()
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial(p.target.Load().network, p.target.Load().address)
		if err != nil || !p.track(client, server) {
			client.Close()
			continue
		}
		p.wait.Go(func() { p.pass(server, client, &p.loseUp) })
		p.wait.Go(func() { p.pass(client, server, &p.loseDown) })
	}
}

func (p *Proxy) track(client, server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		server.Close()
		return false
	}
	p.connections[client], p.connections[server] = true, true
	return true
}

func (p *Proxy) pass(to, from net.Conn, lose *atomic.Bool) {
	defer func() {
		to.Close()
		from.Close()
		p.mu.Lock()
		delete(p.connections, from)
		p.mu.Unlock()
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !lose.Load() {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *Proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Cut()
	p.wait.Wait()
}
