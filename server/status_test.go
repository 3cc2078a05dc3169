package server_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/example/userd/cache"
	userv1 "github.com/example/userd/gen/user/v1"
	adminv1 "github.com/example/userd/gen/userd/admin/v1"
	"github.com/example/userd/gen/userd/admin/v1/adminv1connect"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/server/telemetry"
	"github.com/example/userd/server/wire"
	"github.com/example/userd/store/stats"
)

// someWays are a way of each protocol.
var someWays = []way{{grpcBinary, servertest.HTTP2}, {connectJSON, servertest.HTTP2}, {webOver1, servertest.HTTP1}}

// everywhere runs a test with both transports and some ways to call.
func everywhere(t *testing.T, ways []way, test func(t *testing.T, transport server.Transport, over way)) {
	t.Helper()
	for _, transport := range []server.Transport{server.Engine, server.Std} {
		for _, over := range ways {
			t.Run(string(transport)+" "+over.name, func(t *testing.T) {
				t.Parallel()
				test(t, transport, over)
			})
		}
	}
}

// watchStatus opens a stream of the status.
func watchStatus(t *testing.T, url string, client *http.Client, options ...connecthttp.Option) adminv1connect.StatusServiceWatchStatusClientStream {
	t.Helper()
	return watchStatusEvery(t, nil, url, client, options...)
}

func watchStatusEvery(t *testing.T, interval *durationpb.Duration, url string, client *http.Client, options ...connecthttp.Option) adminv1connect.StatusServiceWatchStatusClientStream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	admin := adminv1connect.NewStatusServiceClient(connect.NewClient(connecthttp.NewTransport(client, url, options...)))
	stream, err := admin.WatchStatus(ctx, &adminv1.WatchStatusRequest{Interval: interval})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = stream.Close()
	})
	return stream
}

func receiveStatus(t *testing.T, stream adminv1connect.StatusServiceWatchStatusClientStream) *adminv1.WatchStatusResponse {
	t.Helper()
	status, err := stream.Receive()
	if err != nil {
		t.Fatal(err)
	}
	return status
}

// endOfStatus is the error that a stream ends with.
func endOfStatus(stream adminv1connect.StatusServiceWatchStatusClientStream) (err error) {
	for err == nil {
		_, err = stream.Receive()
	}
	return err
}

// withMetrics is a server with a cache, and with the metrics that userd has.
func withMetrics(t *testing.T, transport server.Transport) *servertest.Server {
	t.Helper()
	registry := prometheus.NewRegistry()
	users := servertest.NewStore(t)
	cached, err := cache.New(users, cache.Config{Encode: wire.EncodeUser, Decode: wire.DecodeUser})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cached.Close() })
	telemetry.RegisterBuild(registry, "v1.2.3")
	telemetry.RegisterStore(registry, users.(interface{ Stats() stats.Store }).Stats)
	telemetry.RegisterCache(registry, cached.Stats, false)
	return servertest.Start(t, func(config *server.Config) {
		config.Store, config.Reader, config.Registry, config.HTTP2 = cached, cached, registry, transport
	})
}

// What is called between two messages is in the second, or where a message comes meanwhile in the
// third.
func TestStatusTellsWhatHappens(t *testing.T) {
	t.Parallel()
	everywhere(t, someWays, func(t *testing.T, transport server.Transport, over way) {
		running := withMetrics(t, transport)
		users := running.Client(t)
		id := create(t, users, newUserRequest(1)).GetId()
		receive(t, watch(t, users, ""))
		stream := watchStatus(t, running.URL, over.http(t), over.options...)
		first := receiveStatus(t, stream)
		if first.GetSince() != nil || first.GetVersion() != "v1.2.3" || time.Since(first.GetAt().AsTime()) > time.Minute || !first.GetStartedAt().AsTime().Before(first.GetAt().AsTime()) {
			t.Errorf("the first message is %v", first)
		}
		for range 3 {
			if _, err := users.GetUser(t.Context(), &userv1.GetUserRequest{UserId: id}); err != nil {
				t.Fatal(err)
			}
		}
		checkError(t, send(t.Context(), users, &userv1.DeleteUserRequest{UserId: someID}), failure{code: connect.CodeNotFound, reason: userv1.Reason_REASON_USER_NOT_FOUND})
		var reads, deletes, cached int
		for messages := 0; (reads < 3 || deletes < 1) && messages < 60; messages++ {
			r, d, c := checkStatus(t, receiveStatus(t, stream))
			reads, deletes, cached = reads+r, deletes+d, cached+c
		}
		if reads != 3 || deletes != 1 || cached == 0 {
			t.Errorf("%d reads, %d of them of the cache, and %d deletes are told of", reads, cached, deletes)
		}
	})
}

// checkStatus checks a message while a user is read, and a delete of nobody fails. It returns how
// many are told of, and of how many the cache has answers, or none.
func checkStatus(t *testing.T, got *adminv1.WatchStatusResponse) (reads, deletes, cached int) {
	t.Helper()
	seconds := got.GetSince().AsDuration().Seconds()
	times := func(rate float64) int { return int(rate*seconds + 0.5) }
	rpc := func(name string) *adminv1.RpcStatus {
		i := slices.IndexFunc(got.GetRpcs(), func(rpc *adminv1.RpcStatus) bool { return strings.HasSuffix(rpc.GetName(), "/"+name) })
		if i < 0 {
			return nil // Nobody has called it yet.
		}
		return got.GetRpcs()[i]
	}
	read, deleted := rpc("GetUser"), rpc("DeleteUser")
	reads, deletes = times(read.GetCallsPerSecond()), times(deleted.GetErrorsPerSecond())
	if read.GetErrorsPerSecond() != 0 || (reads > 0) != (read.GetLatency().GetP99().AsDuration() > 0) {
		t.Errorf("of GetUser is told %v", read)
	}
	if status := rpc("WatchStatus"); status.GetActive() != 1 || status.GetLatency() != nil {
		t.Errorf("of WatchStatus is told %v", status)
	}
	if errors := got.GetErrors(); deletes > 0 && (len(errors) != 1 || errors[0].GetCode() != "NOT_FOUND" || times(errors[0].GetErrorsPerSecond()) != deletes) {
		t.Errorf("errors are %v", errors)
	}
	if p50, p99 := got.GetUnary().GetP50().AsDuration(), got.GetUnary().GetP99().AsDuration(); reads+deletes > 0 && (p50 <= 0 || p99 < p50) {
		t.Errorf("latencies are %v", got.GetUnary())
	}
	near := got.GetCache()
	if near.RedisUp != nil || !near.GetTrusted() || near.GetStaleness() == nil {
		t.Errorf("the cache is %v", near)
	}
	if pools := got.GetPools(); len(pools) != 2 || pools[0].GetName() != "calls" || pools[0].GetMax() == 0 {
		t.Errorf("pools are %v", pools)
	}
	if open := got.GetConnections(); open.GetOpen() == 0 || open.GetStreams() != 2 || open.GetWatchersFollowing() != 1 {
		t.Errorf("connections are %v", open)
	}
	return reads, deletes, times(near.GetNearHitsPerSecond() + near.GetMissesPerSecond())
}

func TestStatusNeedsItsScope(t *testing.T) {
	t.Parallel()
	everywhere(t, allWays, func(t *testing.T, transport server.Transport, over way) {
		g := startGuarded(t, func(config *server.Config) { config.HTTP2 = transport },
			tokenLine("operator", "admin"), tokenLine("other", scopesBut("admin")))
		of := func(name string) adminv1connect.StatusServiceWatchStatusClientStream {
			return watchStatus(t, g.URL, as(over.http(t), name), over.options...)
		}
		checkError(t, endOfStatus(of("")), unauthenticated)
		checkError(t, endOfStatus(of("nobody")), unauthenticated)
		checkError(t, endOfStatus(of("other")), denied)
		stream := of("operator")
		receiveStatus(t, stream)
		g.change(t)
		checkError(t, endOfStatus(stream), unauthenticated)
	})
}

func TestStatusEndsWithTheServer(t *testing.T) {
	t.Parallel()
	everywhere(t, someWays, func(t *testing.T, transport server.Transport, over way) {
		running := servertest.Start(t, func(config *server.Config) { config.HTTP2 = transport })
		stream := watchStatusEvery(t, durationpb.New(time.Minute), running.URL, over.http(t), over.options...)
		receiveStatus(t, stream)
		ended := make(chan error, 1)
		go func() { ended <- running.Shutdown(t.Context()) }()
		checkError(t, endOfStatus(stream), failure{code: connect.CodeUnavailable, reason: userv1.Reason_REASON_UNAVAILABLE})
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestStatusStreamsAreLimited(t *testing.T) {
	t.Parallel()
	everywhere(t, someWays, func(t *testing.T, transport server.Transport, over way) {
		running := servertest.Start(t, func(config *server.Config) { config.HTTP2, config.MaxStreamsPerAddress = transport, 1 })
		receiveStatus(t, watchStatus(t, running.URL, over.http(t), over.options...))
		overloaded(t, endOfStatus(watchStatus(t, running.URL, over.http(t), over.options...)))
	})
}

func TestStatusIntervals(t *testing.T) {
	t.Parallel()
	everywhere(t, someWays, func(t *testing.T, transport server.Transport, over way) {
		running := servertest.Start(t, func(config *server.Config) { config.HTTP2 = transport })
		for _, interval := range []time.Duration{-time.Second, time.Second - 1, time.Minute + 1} {
			stream := watchStatusEvery(t, durationpb.New(interval), running.URL, over.http(t), over.options...)
			checkError(t, endOfStatus(stream), failure{code: connect.CodeInvalidArgument, reason: userv1.Reason_REASON_INVALID_FIELD, field: "interval", rule: "duration.gte_lte"})
		}
	})
}
