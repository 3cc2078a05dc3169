package server

import (
	"io"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
)

const (
	// sendTimeout is how long a message of a stream may wait for its reader. Nobody
	// can hold memory and goroutines for longer by not reading.
	sendTimeout = 30 * time.Second
	// sendTimeoutRenewal is how often the deadline of a stream is moved. Moving it
	// costs more than a write.
	sendTimeoutRenewal = 5 * time.Second
	// receiveTimeout is how long the request of a unary call may take to come.
	receiveTimeout = 10 * time.Second
)

// refuseSlow ends unary calls whose request does not come.
func refuseSlow(types map[string]connect.StreamType, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind, ours := types[r.URL.Path]
		if ours && kind == connect.StreamTypeUnary && r.ContentLength != 0 {
			body := hurry(r.Body, http.NewResponseController(w))
			defer body.finish()
			r.Body = body
		}
		next.ServeHTTP(w, r)
	})
}

// hurriedBody is the body of a request that must come in time. A timer is cheaper
// than a deadline of the connection, which most requests would set for nothing.
type hurriedBody struct {
	io.ReadCloser
	controller *http.ResponseController
	timer      *time.Timer

	mu   sync.Mutex
	done bool // The controller is not to be used any more.
}

func hurry(body io.ReadCloser, controller *http.ResponseController) *hurriedBody {
	b := &hurriedBody{ReadCloser: body, controller: controller}
	b.timer = time.AfterFunc(receiveTimeout, b.expire)
	return b
}

func (b *hurriedBody) expire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.done {
		_ = b.controller.SetReadDeadline(time.Now()) // A connection without deadlines is closed by its server instead.
	}
}

func (b *hurriedBody) finish() {
	b.timer.Stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = true
}

func (b *hurriedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.finish()
	}
	return n, err
}
