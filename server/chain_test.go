package server_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cache"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/server/wire"
	"github.com/example/userd/store"
)

// chain is a server with a cache, to be called without a transport: interceptors,
// handlers and codecs are all there is. It counts how often a User is encoded or
// decoded.
type chain struct {
	*server.Server
	cache            *cache.Cache
	encoded, decoded atomic.Int64
	id               string // Of a user that is in the cache.
}

func newChain(tb testing.TB) *chain {
	return newChainWith(tb, wire.EncodeUser, wire.DecodeUser)
}

// newChainWith is newChain with another form of users in the cache.
func newChainWith(tb testing.TB, encode func(store.User) ([]byte, error), decode func([]byte) (store.User, error)) *chain {
	tb.Helper()
	users := servertest.NewStore(tb)
	c := &chain{id: fill(tb, users, 1)[0]} // Before there is a cache, so that no change reaches it later.
	var err error
	c.cache, err = cache.New(users, cache.Config{
		Logger: slog.New(slog.DiscardHandler),
		Encode: func(user store.User) ([]byte, error) {
			c.encoded.Add(1)
			return encode(user)
		},
		Decode: func(data []byte) (store.User, error) {
			c.decoded.Add(1)
			return decode(data)
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.cache.Close(); err != nil {
			tb.Errorf("close cache: %v", err)
		}
	})
	if c.Server, err = server.New(server.Config{Store: c.cache, Reader: c.cache}); err != nil {
		tb.Fatal(err)
	}
	for hits := int64(0); hits == c.cache.Stats().NearHits; { // Until the cache is trusted and has the user.
		hits = c.cache.Stats().NearHits
		if _, err := c.cache.Lookup(tb.Context(), c.id, cache.Read{}); err != nil {
			tb.Fatal(err)
		}
	}
	c.encoded.Store(0)
	c.decoded.Store(0)
	return c
}

// memoryStream is a unary call whose request and response are in memory.
type memoryStream struct {
	chain    *chain
	codec    connect.Codec
	request  []byte
	info     connect.CallInfo
	in, out  bytes.Buffer
	received bool
}

func (c *chain) stream(tb testing.TB, codec connect.Codec, req proto.Message) *memoryStream {
	tb.Helper()
	s := &memoryStream{chain: c, codec: codec}
	s.info.Protocol, s.info.Codec = connect.ProtocolNameGRPC, codec.Name()
	for name, value := range map[string]string{
		"Content-Type": "application/grpc", "Te": "trailers", "User-Agent": "grpc-go/1.85.0", "Host": "127.0.0.1:8080",
	} {
		s.info.RequestHeader().Set(name, value)
	}
	if err := codec.MarshalWrite(tb.Context(), &s.out, req); err != nil {
		tb.Fatal(err)
	}
	s.request = bytes.Clone(s.out.Bytes())
	return s
}

// call makes the call, which may be made again.
func (s *memoryStream) call(ctx context.Context, procedure string) error {
	s.received = false
	s.in.Reset()
	s.in.Write(s.request)
	s.out.Reset()
	return s.chain.Call(ctx, procedure, &s.info, s)
}

func (s *memoryStream) SendHeaders() error { return nil }

func (s *memoryStream) Receive(msg any) error {
	if s.received {
		return io.EOF
	}
	s.received = true
	return s.codec.UnmarshalRead(context.Background(), &s.in, msg)
}

func (s *memoryStream) Send(msg any) error {
	if _, encoded := msg.(wire.EncodedResponse); !encoded {
		s.chain.encoded.Add(1)
	}
	return s.codec.MarshalWrite(context.Background(), &s.out, msg)
}

// hotCall is a call whose cost is budgeted.
type hotCall struct {
	name      string
	procedure string
	json      bool
	request   func(c *chain) proto.Message
	allocs    float64 // Most allocations of one call, its decoding and encoding included.
}

var hotCalls = []hotCall{
	{"GetUser", userv1connect.UserServiceGetUserProcedure, false, getCached, 6},
	{"GetUser as JSON", userv1connect.UserServiceGetUserProcedure, true, getCached, 6},
}

func getCached(c *chain) proto.Message { return &userv1.GetUserRequest{UserId: c.id} }

func (h hotCall) stream(tb testing.TB, c *chain) *memoryStream {
	codec := wire.Codecs()[0]
	if h.json {
		codec = wire.Codecs()[1]
	}
	return c.stream(tb, codec, h.request(c))
}

// checkBudget checks what one call allocates, and that it neither encodes nor
// decodes a user. It measures the whole process: nothing else may run.
func (h hotCall) checkBudget(tb testing.TB, c *chain, stream *memoryStream) {
	tb.Helper()
	const calls = 500
	allocs := testing.AllocsPerRun(calls, func() {
		if err := stream.call(tb.Context(), h.procedure); err != nil {
			tb.Fatal(err)
		}
	})
	if allocs > h.allocs*raceAllocs {
		tb.Errorf("a call allocates %v times, want at most %v", allocs, h.allocs)
	}
	if encoded, decoded := c.encoded.Load(), c.decoded.Load(); encoded > 0 || decoded > 0 {
		tb.Errorf("%d cached reads encode %d users and decode %d, want none", calls, encoded, decoded)
	}
}

func TestChainBudget(t *testing.T) {
	for _, hot := range hotCalls {
		t.Run(hot.name, func(t *testing.T) {
			c := newChain(t)
			hot.checkBudget(t, c, hot.stream(t, c))
		})
	}
}

// TestTransportBudget checks what a call allocates above the connection: a request of net/http,
// and a stream of the engine.
func TestTransportBudget(t *testing.T) {
	for name, test := range map[string]struct {
		call func(testing.TB, *chain) func() ([]byte, error)
		most float64
	}{"request": {handlerCall, 13}, "stream": {streamOfCall, 7}} {
		t.Run(name, func(t *testing.T) {
			call := test.call(t, newChain(t))
			allocs := testing.AllocsPerRun(500, func() {
				if answer, err := call(); err != nil || len(answer) <= 100 {
					t.Fatalf("%q, error %v", answer, err)
				}
			})
			if allocs > test.most*raceAllocs {
				t.Errorf("a call allocates %v times, want at most %v", allocs, test.most)
			}
		})
	}
}

// BenchmarkChain is what a call costs above its transport.
func BenchmarkChain(b *testing.B) {
	for _, hot := range hotCalls {
		b.Run(hot.name, func(b *testing.B) {
			c := newChain(b)
			stream := hot.stream(b, c)
			hot.checkBudget(b, c, stream)
			b.ReportAllocs()
			for b.Loop() {
				if err := stream.call(b.Context(), hot.procedure); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(c.encoded.Load())/float64(b.N), "encodes/op")
			b.ReportMetric(float64(c.decoded.Load())/float64(b.N), "decodes/op")
		})
	}
}
