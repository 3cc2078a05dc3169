//go:build unix

package server_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
)

// lateListener accepts nothing before its server, which stops, has found connections that wait.
type lateListener struct {
	*net.TCPListener
	looks   atomic.Int64
	served  func() // Is called when there is a server.
	accepts chan struct{}
	accept  func() // Closes accepts.
}

func (l *lateListener) Accept() (net.Conn, error) {
	l.served()
	<-l.accepts
	return l.TCPListener.Accept()
}

// SyscallConn is what the server looks with, a second time where it has found some.
func (l *lateListener) SyscallConn() (syscall.RawConn, error) {
	if l.looks.Add(1) == 2 {
		l.accept()
	}
	return l.TCPListener.SyscallConn()
}

func (l *lateListener) Close() error {
	l.accept()
	return l.TCPListener.Close()
}

// Whoever has connected before the drain began is answered, though the server has not
// accepted the connection yet.
func TestDrainTakesWaitingConnections(t *testing.T) {
	t.Parallel()
	running, err := server.New(server.Config{Store: endlessStore{}, HTTP2: servertest.HTTP2Transport(), AllowedHosts: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := &lateListener{TCPListener: inner.(*net.TCPListener), accepts: make(chan struct{})}
	listener.accept = sync.OnceFunc(func() { close(listener.accepts) })
	served := make(chan struct{})
	listener.served = sync.OnceFunc(func() { close(served) })
	ended := make(chan error, 2)
	go func() { ended <- running.Serve(listener) }()
	var waiting [4]net.Conn
	for i := range waiting {
		if waiting[i], err = net.Dial("tcp", inner.Addr().String()); err != nil {
			t.Fatal(err)
		}
		defer waiting[i].Close()
		if _, err := io.WriteString(waiting[i], listRequest); err != nil {
			t.Fatal(err)
		}
	}

	<-served
	go func() { ended <- running.Shutdown(t.Context()) }()
	for _, conn := range waiting {
		if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("the answer is %v, %v", resp, err)
		}
	}
	for range cap(ended) {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
