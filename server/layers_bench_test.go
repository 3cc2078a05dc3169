package server_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cache"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store"
)

// BenchmarkCachedGetUser is a cached GetUser over gRPC, layer by layer: the cache
// alone, and everything between the transport and the cache, with an HTTP/2 that
// costs nothing. BenchmarkGetUser has it with a client, over a connection.
//
// What it reports as encodes/op and decodes/op is exact: the users in this cache are
// bytes that are no User, which only the cache's own functions can read, and those
// count; a response that was made in another way would differ.
func BenchmarkCachedGetUser(b *testing.B) {
	b.Run("cache", func(b *testing.B) {
		l := newLayers(b)
		l.measure(b, func() ([]byte, error) {
			entry, err := l.cache.Lookup(b.Context(), l.id, cache.Read{})
			return entry.Data, err
		})
	})
	b.Run("handler", func(b *testing.B) {
		l := newLayers(b)
		call := l.handlerCall(b)
		l.measure(b, call)
	})
}

// opaque is what the layers have in the place of an encoded user. Field number 0
// does not exist.
var opaque = bytes.Repeat([]byte{0}, 150)

// layers are a cache whose users nobody else can decode, and the server on it.
type layers struct {
	cache            *cache.Cache
	server           *server.Server
	id               string
	encoded, decoded atomic.Int64
}

func newLayers(tb testing.TB) *layers {
	tb.Helper()
	users := servertest.NewStore(tb)
	user, err := users.Create(tb.Context(), store.NewUser{ID: someID, Email: testEmail(1), DisplayName: testName(1)})
	if err != nil {
		tb.Fatal(err)
	}
	l := &layers{id: user.ID}
	l.cache, err = cache.New(users, cache.Config{
		Logger: slog.New(slog.DiscardHandler),
		Encode: func(store.User) []byte {
			l.encoded.Add(1)
			return opaque
		},
		Decode: func([]byte) (store.User, error) {
			l.decoded.Add(1)
			return user, nil
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.cache.Close(); err != nil {
			tb.Error(err)
		}
	})
	if l.server, err = server.New(server.Config{Store: l.cache, Reader: l.cache}); err != nil {
		tb.Fatal(err)
	}
	for before := int64(-1); l.encoded.Load() != before; { // Until the cache answers.
		before = l.encoded.Load()
		if _, err := l.cache.Lookup(tb.Context(), l.id, cache.Read{}); err != nil {
			tb.Fatal(err)
		}
	}
	return l
}

// measure measures a call that returns something that ends with the encoded user.
func (l *layers) measure(b *testing.B, call func() ([]byte, error)) {
	b.Helper()
	encoded, decoded := l.encoded.Load(), l.decoded.Load()
	b.ReportAllocs()
	for b.Loop() {
		if answer, err := call(); err != nil || !bytes.HasSuffix(answer, opaque) {
			b.Fatalf("%q, error %v", answer, err)
		}
	}
	b.ReportMetric(float64(l.encoded.Load()-encoded)/float64(b.N), "encodes/op")
	b.ReportMetric(float64(l.decoded.Load()-decoded)/float64(b.N), "decodes/op")
}

// handlerCall calls the server's handler as an HTTP/2 server does, with requests and
// a writer of its own that are used again and again.
func (l *layers) handlerCall(tb testing.TB) func() ([]byte, error) {
	tb.Helper()
	message, err := proto.Marshal(&userv1.GetUserRequest{UserId: l.id})
	if err != nil {
		tb.Fatal(err)
	}
	body := append([]byte{0, 0, 0, 0, byte(len(message))}, message...)
	request := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/user.v1.UserService/GetUser", nil)
	request.ProtoMajor, request.ProtoMinor = 2, 0
	request.Header = http.Header{"Content-Type": {"application/grpc+proto"}, "Te": {"trailers"}}
	request.ContentLength = int64(len(body))
	reader := bytes.NewReader(nil)
	request.Body = io.NopCloser(reader)
	w := &reusedWriter{header: make(http.Header)}
	handler := l.server.Handler()
	return func() ([]byte, error) {
		reader.Reset(body)
		clear(w.header)
		w.body = w.body[:0]
		handler.ServeHTTP(w, request)
		return w.body, nil
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
