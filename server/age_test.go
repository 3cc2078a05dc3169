//go:build unix

package server_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store"
)

const connectionAge = time.Minute

// quietStore is a store in which nothing changes.
type quietStore struct{ endlessStore }

func (quietStore) Head(context.Context) (store.Cursor, error) { return "head", nil }

func (quietStore) Changes(_ context.Context, after store.Cursor, _ int) ([]store.Change, store.Cursor, error) {
	return nil, after, nil
}

func (quietStore) Wait(ctx context.Context, _ store.Cursor) error {
	<-ctx.Done()
	return ctx.Err()
}

// startAging is startInMemory where connections get old.
func startAging(t *testing.T) *inMemory {
	t.Helper()
	return startInMemoryWith(t, server.Config{Store: quietStore{}, MaxConnectionAge: connectionAge, IdleTimeout: 10 * connectionAge})
}

// A peer over HTTP/1.1 whose connection is old is told so with its next answer.
func TestOldConnectionsEndOverHTTP1(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startAging(t)
		conn := s.service.dial()
		for range 8 {
			if resp := exchange(t, conn, listRequest); resp.StatusCode != http.StatusOK || resp.Close {
				t.Fatalf("answer is %s, last %t", resp.Status, resp.Close)
			}
			time.Sleep(connectionAge / 10)
		}
		time.Sleep(connectionAge * 3 / 10)
		checkLast(t, conn, exchange(t, conn, listRequest), http.StatusOK)
		s.drain(t.Context())
		s.awaitEnd(t)
	})
}

// Over HTTP/2 it gets a GOAWAY, a call that meets it is answered, a list goes on, and a watch ends
// when the peer has been told, so that it begins again on another connection.
func TestOldConnectionsEndOverHTTP2(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startAging(t)
		conn := s.service.dial()
		raw, _ := newRawConn(t, conn, "test")
		raw.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		raw.watch(1, "/user.v1.UserService/WatchUsers")
		raw.watch(3, "/grpc.health.v1.Health/Watch")
		raw.watch(5, "/userd.admin.v1.StatusService/WatchStatus")
		raw.call(7, "/user.v1.UserService/StreamUserUpdates")

		start, told, statuses := time.Now(), false, make(map[uint32]string)
		for len(statuses) < 3 {
			frame, err := raw.framer.ReadFrame()
			raw.must(err)
			switch frame := frame.(type) {
			case *http2.PingFrame:
				if !frame.IsAck() {
					raw.must(raw.framer.WritePing(true, frame.Data))
				}
			case *http2.DataFrame: // It reads.
				if size := uint32(frame.Length); size > 0 {
					raw.must(raw.framer.WriteWindowUpdate(0, size))
					raw.must(raw.framer.WriteWindowUpdate(frame.StreamID, size))
				}
			case *http2.GoAwayFrame:
				told = true
			case *http2.MetaHeadersFrame:
				if status := fieldOf(frame, "grpc-status"); status != "" {
					statuses[frame.StreamID] = status
					if engine := servertest.HTTP2Transport() != server.Std; engine && !told {
						t.Errorf("stream %d ends before its peer is told to go", frame.StreamID)
					}
				}
			}
		}
		if took := time.Since(start); took < connectionAge*89/100 || took > connectionAge*111/100 {
			t.Errorf("streams end after %v", took)
		}
		for stream, status := range statuses {
			if status != "14" || stream == 7 {
				t.Errorf("stream %d ends with %s, want UNAVAILABLE", stream, status)
			}
		}
		raw.must(raw.framer.WriteData(7, true, nil)) // It goes on for as long as its caller likes.
		awaitFrame(raw, func(frame *http2.MetaHeadersFrame) bool {
			return frame.StreamID == 7 && fieldOf(frame, "grpc-status") == "0"
		})
		raw.awaitEnd() // net/http has told of it with that answer.
		s.drain(t.Context())
		s.awaitEnd(t)
	})
}

// watch calls an RPC that ends with its connection.
func (c *rawConn) watch(stream uint32, procedure string) {
	c.tb.Helper()
	c.call(stream, procedure)
	c.must(c.framer.WriteData(stream, true, envelope(c.tb, &userv1.WatchUsersRequest{})))
}

// A watch over HTTP/1.1 ends as well, and says why.
func TestOldWatchesEndOverHTTP1(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := startAging(t)
		conn := s.service.dial()
		body := "\x00\x00\x00\x00\x02{}"
		go func() {
			_, _ = fmt.Fprintf(conn, "POST /user.v1.UserService/WatchUsers HTTP/1.1\r\nHost: test\r\nContent-Type: application/connect+json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}()
		readUntil(t, conn, "the connection is as old as it may be")
		_ = conn.Close()
		s.drain(t.Context())
		s.awaitEnd(t)
	})
}

// A client of gRPC that knows one server asks for others when its connection is old, and then
// calls those that have come, without a call that fails.
func TestOldConnectionsLeadToOtherServers(t *testing.T) {
	t.Parallel()
	aging := func(config *server.Config) { config.MaxConnectionAge = 50 * time.Millisecond }
	first, second := servertest.Start(t, aging), servertest.Start(t, aging)
	address := func(s *servertest.Server) resolver.Address {
		return resolver.Address{Addr: strings.TrimPrefix(s.URL, "http://")}
	}
	names := manual.NewBuilderWithScheme("servers")
	names.InitialState(resolver.State{Addresses: []resolver.Address{address(first)}})
	names.ResolveNowCallback = func(resolver.ResolveNowOptions) {
		go names.UpdateState(resolver.State{Addresses: []resolver.Address{address(first), address(second)}})
	}
	conn, err := grpc.NewClient("servers:///users", grpc.WithResolvers(names), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"), grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for calls := 0; ; calls++ {
		var from peer.Peer
		if err := conn.Invoke(t.Context(), "/user.v1.UserService/SearchUsers", new(userv1.SearchUsersRequest), new(userv1.SearchUsersResponse), grpc.Peer(&from)); err != nil {
			t.Fatalf("after %d calls: %v", calls, err)
		}
		if from.Addr.String() == address(second).Addr {
			return
		}
	}
}
