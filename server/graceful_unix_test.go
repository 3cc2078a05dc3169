//go:build unix

package server_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
)

// lateListener accepts nothing before it is told to.
type lateListener struct {
	*net.TCPListener
	accepts chan struct{}
}

func (l *lateListener) Accept() (net.Conn, error) {
	<-l.accepts
	return l.TCPListener.Accept()
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
	listener := &lateListener{inner.(*net.TCPListener), make(chan struct{})}
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

	go func() { ended <- running.Shutdown(t.Context()) }()
	ready := httptest.NewRequest(http.MethodGet, "/readyz", nil)
	for code := 0; code != http.StatusServiceUnavailable; {
		answer := httptest.NewRecorder()
		running.Handler().ServeHTTP(answer, ready)
		code = answer.Code
	}
	close(listener.accepts)
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
