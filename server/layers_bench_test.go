package server_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cache"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/h2"
	"github.com/example/userd/server/lane"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/server/wire"
	"github.com/example/userd/store"
)

// BenchmarkCachedGetUser is a cached GetUser over gRPC, layer by layer: the cache
// alone; interceptors, handler and codec around it; and all that without a connection, as
// the engine's streams have it, and with net/http's form of requests. BenchmarkGetUser has it
// with a client, over a connection.
//
// What it reports as encodes/op and decodes/op is exact: the users in this cache are
// bytes that are no User, which only the cache's own functions can read, and those
// count; a response that was made in another way would differ.
func BenchmarkCachedGetUser(b *testing.B) {
	for _, layer := range []struct {
		name string
		call func(testing.TB, *chain) func() ([]byte, error)
	}{{"cache", cacheCall}, {"chain", chainCall}, {"stream", streamOfCall}, {"handler", handlerCall}} {
		b.Run(layer.name, func(b *testing.B) {
			c := newOpaqueChain(b)
			call := layer.call(b, c)
			b.ReportAllocs()
			for b.Loop() {
				if answer, err := call(); err != nil || !bytes.HasSuffix(answer, opaque) {
					b.Fatalf("%q, error %v", answer, err)
				}
			}
			b.ReportMetric(float64(c.encoded.Load())/float64(b.N), "encodes/op")
			b.ReportMetric(float64(c.decoded.Load())/float64(b.N), "decodes/op")
		})
	}
}

// opaque stands in the place of every encoded user. Field number 0 does not exist.
var opaque = bytes.Repeat([]byte{0}, 150)

func newOpaqueChain(tb testing.TB) *chain {
	tb.Helper()
	var known atomic.Pointer[store.User]
	encode := func(user store.User) ([]byte, error) {
		known.Store(&user)
		return opaque, nil
	}
	return newChainWith(tb, encode, func([]byte) (store.User, error) { return *known.Load(), nil })
}

func cacheCall(tb testing.TB, c *chain) func() ([]byte, error) {
	return func() ([]byte, error) {
		entry, err := c.cache.Lookup(tb.Context(), c.id, cache.Read{})
		return entry.Data, err
	}
}

func chainCall(tb testing.TB, c *chain) func() ([]byte, error) {
	codec := wire.Codecs()[0]
	stream := c.stream(tb, codec, getCached(c))
	return func() ([]byte, error) {
		err := stream.call(tb.Context(), userv1connect.UserServiceGetUserProcedure)
		return stream.out.Bytes(), err
	}
}

// streamOfCall calls the server's lane as a connection of the engine does.
func streamOfCall(tb testing.TB, c *chain) func() ([]byte, error) {
	tb.Helper()
	serve := streamThrough(tb, c, c.id)
	return func() ([]byte, error) { return serve(), nil }
}

// handlerCall calls the server's handler as an HTTP/2 server does, with a request
// and a writer that are used again and again.
func handlerCall(tb testing.TB, c *chain) func() ([]byte, error) {
	tb.Helper()
	w, serve := getThrough(tb, c, c.id)
	return func() ([]byte, error) {
		serve()
		return w.body, nil
	}
}

// BenchmarkRefusedGetUser is a GetUser that is refused because the store has too many calls,
// before it begins: a request of net/http, and a stream of the engine.
func BenchmarkRefusedGetUser(b *testing.B) {
	refusing := servertest.Start(b, func(config *server.Config) {
		config.Reader, config.Refuse = new(fullReader), func(context.Context, string) error { return store.ErrOverloaded }
	})
	b.Run("request", func(b *testing.B) {
		w, serve := getThrough(b, refusing, nearID(0))
		b.ReportAllocs()
		for b.Loop() {
			if serve(); w.header.Get("Grpc-Status") != "8" {
				b.Fatal(w.header)
			}
		}
	})
	b.Run("stream", func(b *testing.B) {
		serve := streamThrough(b, refusing, nearID(0))
		b.ReportAllocs()
		for b.Loop() {
			serve()
		}
	})
}

// streamThrough returns what calls a server's lane, as the engine does, with a GetUser that does
// not wait. It returns the body of the answer, which is good until the next call.
func streamThrough(tb testing.TB, to interface{ Lane() *lane.Lane }, id string) func() []byte {
	tb.Helper()
	body := grpcBody(tb, id)
	route := to.Lane().Route(tb.Context(), &h2.Head{
		Method: http.MethodPost, Authority: "localhost", Path: userv1connect.UserServiceGetUserProcedure,
		Fields: []hpack.HeaderField{{Name: "content-type", Value: "application/grpc+proto"}, {Name: "te", Value: "trailers"}},
	}, nil)
	return func() []byte {
		call := route.Open("127.0.0.1:80", body)
		if !call.Ready(tb.Context()) {
			tb.Fatal("it waits")
		}
		defer call.Release()
		return call.Serve(tb.Context()).Body
	}
}

// grpcBody is the body of a call of GetUser over gRPC.
func grpcBody(tb testing.TB, id string) []byte {
	tb.Helper()
	message, err := proto.Marshal(&userv1.GetUserRequest{UserId: id})
	if err != nil {
		tb.Fatal(err)
	}
	return append([]byte{0, 0, 0, 0, byte(len(message))}, message...)
}

// getThrough returns what calls a server's handler, and where the answer is then.
func getThrough(tb testing.TB, to interface{ Handler() http.Handler }, id string) (w *reusedWriter, serve func()) {
	tb.Helper()
	body := grpcBody(tb, id)
	request := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "http://localhost"+userv1connect.UserServiceGetUserProcedure, nil)
	request.ProtoMajor, request.ProtoMinor = 2, 0
	request.Header = http.Header{"Content-Type": {"application/grpc+proto"}, "Te": {"trailers"}}
	request.ContentLength = int64(len(body))
	reader := bytes.NewReader(nil)
	w = &reusedWriter{header: make(http.Header)}
	return w, func() {
		reader.Reset(body)
		request.Body = io.NopCloser(reader) // The handler has wrapped the one before.
		clear(w.header)
		w.body = w.body[:0]
		to.Handler().ServeHTTP(w, request)
	}
}

// reusedWriter is an http.ResponseWriter that keeps one response.
type reusedWriter struct {
	header http.Header
	body   []byte
}

func (w *reusedWriter) Header() http.Header { return w.header }

func (w *reusedWriter) WriteHeader(int) {}

func (w *reusedWriter) Write(p []byte) (int, error) {
	w.body = append(w.body, p...)
	return len(p), nil
}

func (w *reusedWriter) Flush() {}
