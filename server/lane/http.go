package lane

import (
	"bytes"
	"io"
	"net/http"
	"sync"

	"connectrpc.com/connect/v2"
)

// wholeBytes is the largest body that is looked at before its call, in bytes. Nobody
// is let in before all of it is here.
const wholeBytes = 16 << 10

// Handler serves what the lane takes, and leaves the rest to next.
func (l *Lane) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := new(requestCall)
		if !c.profile.fill(l, r) {
			next.ServeHTTP(w, r)
			return
		}
		body := bodies.Get().(*wholeBody)
		defer bodies.Put(body)
		err := body.read(r.Body)
		if err != io.EOF || !c.call.prepare(l, &c.profile.profile, r.RemoteAddr, body.bytes()) {
			next.ServeHTTP(w, WithBody(r, io.MultiReader(bytes.NewReader(body.bytes()), rest(r.Body, err))))
			return
		}
		if c.call.ready(r.Context()) {
			c.call.serveReady()
		} else {
			c.call.serveWaiting(r.Context())
		}
		c.call.answer.write(w)
		c.call.answer.release()
	})
}

// requestCall is a call of a request of net/http.
type requestCall struct {
	profile requestProfile
	call    call
}

// requestProfile is the profile of such a request.
type requestProfile struct{ profile }

func (p *requestProfile) fill(l *Lane, r *http.Request) bool {
	if r.ContentLength > wholeBytes || r.Method == http.MethodGet && r.ContentLength != 0 {
		return false
	}
	return p.profile.fill(l, r.Method, r.URL.Path, r.URL.RawQuery, r.Host, requestHeader(r.Header)) &&
		(p.format.protocol != connect.ProtocolNameGRPC || r.ProtoMajor > 1)
}

// wholeBody is a body of at most wholeBytes.
type wholeBody struct {
	buffer [wholeBytes + 1]byte
	size   int
}

var bodies = sync.Pool{New: func() any { return new(wholeBody) }}

// read reads a body. It returns io.EOF when it is whole, and nil when it is too large.
func (b *wholeBody) read(from io.Reader) (err error) {
	for b.size = 0; b.size < len(b.buffer) && err == nil; {
		var n int
		n, err = from.Read(b.buffer[b.size:])
		b.size += n
	}
	return err
}

func (b *wholeBody) bytes() []byte { return b.buffer[:b.size] }

// requestHeader is the header of a request of net/http.
type requestHeader http.Header

func (h requestHeader) get(name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

func (h requestHeader) copyTo(to *connect.Header) {
	for name, values := range h {
		to.SetValues(name, values[:len(values):len(values)])
	}
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
