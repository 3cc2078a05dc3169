package lane

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
)

// wholeBytes is the largest body that is looked at before its call, in bytes. Nobody
// is let in before all of it is here.
const wholeBytes = 16 << 10

// Handler serves what the lane takes, and leaves the rest to next.
func (l *Lane) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := requestCalls.Get().(*requestCall)
		if !c.profile.take(l, r) {
			c.putBack()
			next.ServeHTTP(w, r)
			return
		}
		body := getBuffer()
		defer putBuffer(body)
		err := readWhole(body, r.Body)
		message := body.Bytes()
		if c.profile.get {
			message = c.profile.message
		}
		if err != io.EOF || !c.prepare(r.Context(), l, &c.profile, r.RemoteAddr, message) {
			next.ServeHTTP(w, WithBody(r, io.MultiReader(body, rest(r.Body, err))))
			return
		}
		ready := c.Ready(r.Context())
		c.serve(r.Context())
		if c.answer.waits(w) {
			c.await(requestBytes, func() { _ = http.NewResponseController(w).SetWriteDeadline(time.Now()) }) // Else it waits for as long as it may take.
		}
		c.answer.write(w)
		if c.counted != nil {
			_ = http.NewResponseController(w).Flush() // Else a small one would wait when it is not counted any more.
		}
		c.Release()
		if ready {
			c.putBack()
		}
	})
}

// requestCalls has calls that have ended, see streamCalls.
var requestCalls = sync.Pool{New: func() any { return new(requestCall) }}

func (c *requestCall) putBack() {
	*c = requestCall{}
	requestCalls.Put(c)
}

// requestCall is a call of a request of net/http.
type requestCall struct {
	call
	profile profile
}

// take is fill for a request of net/http.
func (p *profile) take(l *Lane, r *http.Request) bool {
	if r.ContentLength > wholeBytes || r.Method == http.MethodGet && r.ContentLength != 0 {
		return false
	}
	taken := p.fill(l, r.Method, r.URL.Path, r.URL.RawQuery, r.Host, header(r.Header)) &&
		(p.format.protocol != connect.ProtocolNameGRPC || r.ProtoMajor > 1)
	if taken {
		p.share()
	}
	return taken
}

// readWhole reads a body. It returns io.EOF when it is whole, and nil when it is too large.
func readWhole(body *bytes.Buffer, from io.Reader) (err error) {
	for n := 0; body.Len() <= wholeBytes && err == nil; {
		body.Grow(bytes.MinRead)
		room := body.AvailableBuffer()
		n, err = from.Read(room[:cap(room)])
		body.Write(room[:n])
	}
	return err
}

// rest is what is to come of a body that was read until it returned err.
func rest(body io.Reader, err error) io.Reader {
	if err != nil {
		return failedReader{err}
	}
	return body
}

// failedReader is the rest of a body that has failed or ended.
type failedReader struct{ err error }

func (r failedReader) Read([]byte) (int, error) { return 0, r.err }

// requestBytes is about what a request of net/http needs besides its answer while that waits, in
// bytes.
const requestBytes = 12 << 10

// largeAnswer is more than what net/http has in a buffer of its own, in bytes. One that is not
// larger is not counted.
const largeAnswer = 4 << 10

// waits reports whether the answer has to wait for the peer to read, as far as that is known, or
// is large. Package h2 knows.
func (a *answer) waits(w http.ResponseWriter) bool {
	if a.body == nil {
		return false
	}
	if writer, ok := WriterOf[interface{ Fits(bytes int) bool }](w); ok {
		return !writer.Fits(a.body.Len())
	}
	return a.body.Len() > largeAnswer
}

// WriterOf is the ResponseWriter of a kind that w is or has within. Those within are what
// http.ResponseController looks at, too.
func WriterOf[T any](w http.ResponseWriter) (T, bool) {
	for {
		if writer, ok := w.(T); ok {
			return writer, true
		}
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			var none T
			return none, false
		}
		w = wrapper.Unwrap()
	}
}

// write sends the answer.
func (a *answer) write(w http.ResponseWriter) {
	header := w.Header()
	for _, f := range a.head.fields {
		header[f.name] = f.values
	}
	for _, f := range a.header {
		header[f.name] = append(header[f.name], f.values...)
	}
	if a.head.native {
		header["Content-Length"] = nil // Else net/http adds one.
	}
	if isOK(a.trailer) {
		header[http.TrailerPrefix+"Grpc-Status"] = grpcOK[0].values
	} else {
		for _, f := range a.trailer {
			header[http.TrailerPrefix+f.name] = f.values
		}
	}
	w.WriteHeader(a.status)
	if a.body != nil {
		_, _ = w.Write(a.body.Bytes()) // An error here is a caller that is gone.
	}
}

// WithBody is a copy of r that has another body, which is closed with that of r. The
// request of the server itself has to keep the body that it came with: by its type
// net/http knows, when the handler has returned, whether the body was read to a clean
// end. If it was not, the connection must be closed, since what follows on it could be
// anything.
func WithBody(r *http.Request, body io.Reader) *http.Request {
	changed := *r
	changed.Body = struct {
		io.Reader
		io.Closer
	}{body, r.Body}
	return &changed
}
