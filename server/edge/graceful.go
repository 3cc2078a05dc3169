package edge

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/example/userd/server/connections"
)

// noticePeriod is how long peers over HTTP/1.1 have to learn that the server stops.
const noticePeriod = time.Second

// Server is a server of net/http that loses no request when it stops. Over
// HTTP/1.1 a server can say only in a response that it closes the connection, but
// http.Server.Shutdown closes at once what is idle, and what has sent a request that it
// has read but not begun to serve. So there is a time between in which requests are
// answered, and each answer says that it is the last one. HTTP/2 as net/http has it sends a
// GOAWAY for that.
type Server struct {
	http.Server
	leaving atomic.Bool

	mu        sync.Mutex
	since     time.Time // The last Leave.
	stopping  bool      // No listener is taken any more.
	listeners map[*onceClosed]struct{}
	open      int           // Listeners and connections.
	ended     chan struct{} // Closed when stopping and nothing is open.
	end       func()        // Closes ended.
}

// NewServer returns a server. Its settings can be changed until it runs, but for the
// handler and ConnState.
func NewServer(handler http.Handler) *Server {
	g := &Server{listeners: make(map[*onceClosed]struct{}), ended: make(chan struct{})}
	g.end = sync.OnceFunc(func() { close(g.ended) })
	g.Handler = g.announce(handler)
	g.ConnState = g.track
	return g
}

// announce makes each answer the last one of its connection while the server is leaving.
func (g *Server) announce(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.leaving.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// LetOldGo makes each answer on a connection that is older than it may be the last one.
func LetOldGo(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if connections.IsOld(r.Context()) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

func (g *Server) track(nc net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		g.count(1)
	case http.StateActive, http.StateIdle:
		connections.SetIdle(nc, state == http.StateIdle)
	case http.StateClosed, http.StateHijacked:
		g.count(-1)
	}
}

func (g *Server) count(change int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open += change
	if g.stopping && g.open == 0 {
		g.end()
	}
}

// Run has serve serve a listener, and returns nil when that is over because the server
// stops.
func (g *Server) Run(listener net.Listener, serve func(net.Listener) error) error {
	closing := &onceClosed{listener, sync.OnceValue(listener.Close)}
	if !g.begin(closing) {
		return closing.Close()
	}
	defer g.count(-1)
	err := serve(closing)
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.listeners, closing)
	if g.stopping {
		return nil
	}
	return err
}

// begin takes a listener, unless the server stops.
func (g *Server) begin(listener *onceClosed) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopping {
		return false
	}
	g.listeners[listener] = struct{}{}
	g.open++
	return true
}

// Leave begins to tell peers that the server stops. It still takes connections. From the
// last time on that it is called they have the time that Await gives them.
func (g *Server) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leaving.Store(true)
	g.since = time.Now()
}

// Stop takes no connections any more, but for those that the system has taken: it would
// reset them, with what their peers have asked for.
func (g *Server) Stop() {
	g.mu.Lock()
	g.stopping = true
	listeners := slices.Collect(maps.Keys(g.listeners))
	g.mu.Unlock()
	for _, listener := range listeners {
		listener.awaitAccepts()
		_ = listener.Close() // A listener that is gone takes no connections either.
	}
	g.count(0)
}

// Await returns when all connections are gone, or their peers had the time to learn
// that they should be, or ctx ends.
func (g *Server) Await(ctx context.Context) {
	g.mu.Lock()
	timer := time.NewTimer(time.Until(g.since.Add(noticePeriod)))
	g.mu.Unlock()
	defer timer.Stop()
	select {
	case <-g.ended:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Finish waits for the requests that are left. When ctx ends first, it cuts them off.
func (g *Server) Finish(ctx context.Context) error {
	if err := g.Shutdown(ctx); err != nil {
		return errors.Join(err, g.Close())
	}
	return nil
}

// onceClosed is a listener that may be closed again.
type onceClosed struct {
	net.Listener
	close func() error
}

func (l *onceClosed) Close() error { return l.close() }

// awaitAccepts returns when no connection waits to be accepted, or those that wait are not
// accepted in time. The listener is served meanwhile.
func (l *onceClosed) awaitAccepts() {
	for end := time.Now().Add(noticePeriod); hasWaiting(l.Listener) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}
