package load

import (
	"encoding/base64"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/example/userd/cmd/userbench/population"
	userv1 "github.com/example/userd/gen/user/v1"
)

// refuses answers that a server has enough to do, for this long.
func refuses(t *testing.T, users *population.Users, delay time.Duration) func(string) answer {
	t.Helper()
	retry, err := anypb.New(&errdetails.RetryInfo{RetryDelay: durationpb.New(delay)})
	if err != nil {
		t.Fatal(err)
	}
	details, err := proto.Marshal(&spb.Status{Code: 8, Details: []*anypb.Any{retry}})
	if err != nil {
		t.Fatal(err)
	}
	return func(string) answer {
		return answer{
			message: &userv1.GetUserResponse{User: users.User(3)}, grpcStatus: resourceExhausted,
			details: base64.RawStdEncoding.EncodeToString(details),
		}
	}
}

func TestRefusedCallersComeAgainWhenTheyWereTold(t *testing.T) {
	t.Parallel()
	users := population.New(1, 10)
	const delay = aMoment / 4
	address := serveHTTP2(t, users, refuses(t, users, delay))
	const most = int64(aMoment/delay) + 1
	g := dial(t, Target{
		Address: address, Connections: 1, Streams: 1, Wire: Wire{Protocol: GRPC, Codec: Proto},
		Read: GetUser(users, Proto), Keys: onlyKey(3),
	})
	if r := g.Closed(aMoment); r.Refused < 1 || r.Refused > most || r.Failed > 0 {
		t.Errorf("%d calls were refused in %s, each for %s, %d failed: %v", r.Refused, aMoment, delay, r.Failed, r.Failure)
	}
	s := dialStreams(t, address, 0)
	s.Call = func(session *Session, _ int) error { return session.Unary(GetUser(users, Proto), 3) }
	if r := s.Closed(aMoment); r.Refused < 1 || r.Refused > most || r.Failed > 0 {
		t.Errorf("%d streams were refused in %s, each for %s, %d failed: %v", r.Refused, aMoment, delay, r.Failed, r.Failure)
	}
}

// dialStreams connects one call at a time.
func dialStreams(t *testing.T, address string, deadline time.Duration) *Streams {
	t.Helper()
	s, err := DialStreams(address, 1, 1, "", deadline)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestAnswersAfterTheDeadlineDoNotCount(t *testing.T) {
	t.Parallel()
	users := population.New(1, 10)
	say := right(users)
	address := serveHTTP2(t, users, func(id string) answer {
		late := say(id)
		late.stall = 10 * time.Millisecond
		return late
	})
	g := dial(t, Target{
		Address: address, Wire: Wire{Protocol: GRPC, Codec: Proto, Deadline: time.Millisecond},
		Read: GetUser(users, Proto), Keys: Uniform(10),
	})
	if r := g.Closed(aMoment); r.Expired == 0 || r.Latency.TotalCount() > 0 || r.Rate > 0 || r.Failed > 0 {
		t.Errorf("%d calls have expired, %d not, %d failed: %v", r.Expired, r.Latency.TotalCount(), r.Failed, r.Failure)
	}
}

func TestTheServerIsToldOfDeadlinesAndCaches(t *testing.T) {
	t.Parallel()
	fields := (&Wire{Protocol: GRPC, Codec: Proto, NoCache: true, Deadline: 500 * time.Millisecond, Token: "one"}).fields()
	for _, want := range [][2]string{{"grpc-timeout", "500m"}, {"authorization", "Bearer one"}, {"cache-control", "no-cache"}, {"content-type", "application/grpc+proto"}} {
		if !slices.Contains(fields, want) {
			t.Errorf("no %s in %s", want, fields)
		}
	}
}

// TestCallsWithoutRoomAreNotMade lets the first call of an open loop take all of its time.
func TestCallsWithoutRoomAreNotMade(t *testing.T) {
	t.Parallel()
	users := population.New(1, 10)
	say := right(users)
	address := serveHTTP2(t, users, func(id string) answer {
		late := say(id)
		late.stall = 2 * aMoment
		return late
	})
	g := dial(t, Target{
		Address: address, Connections: 1, Wire: Wire{Protocol: GRPC, Codec: Proto},
		Read: GetUser(users, Proto), Keys: Uniform(10), Drop: true,
	})
	g.lanes[0].lock()
	g.lanes[0].conn.(*unaryConn).maxStreams = 1
	g.lanes[0].unlock()
	unary, err := g.Open(1_000, aMoment)
	if err != nil {
		t.Fatal(err)
	}
	s := dialStreams(t, address, 0)
	s.Call = func(session *Session, _ int) error { return session.Unary(GetUser(users, Proto), 3) }
	streams, err := s.Open(1_000, aMoment)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Result{unary, streams} {
		if r.Latency.TotalCount() != 1 || r.Unsent < 50 || r.Failed > 0 {
			t.Errorf("%d calls were answered and %d of about 100 were not made, %d failed: %v", r.Latency.TotalCount(), r.Unsent, r.Failed, r.Failure)
		}
	}
}

func TestStreamsAreMadeInBothLoops(t *testing.T) {
	t.Parallel()
	s, err := DialStreams(serveEcho(t), 2, 2, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.Call = func(session *Session, n int) error {
		if n%2 == 0 {
			return errors.New("wrong")
		}
		return session.Call("Echo", []byte("m"), func([]byte) error { return nil })
	}
	open, err := s.Open(500, aMoment)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Result{s.Closed(aMoment), open} {
		if r.Latency.TotalCount() == 0 || r.Failed == 0 || r.Failure == nil {
			t.Errorf("%d answers, %d failed", r.Latency.TotalCount(), r.Failed)
		}
	}
}

func TestCallersLeaveAClosedConnection(t *testing.T) {
	t.Parallel()
	s := dialStreams(t, serveEcho(t), 0)
	s.Call = func(session *Session, _ int) error {
		session.Close()
		return session.Call("Echo", nil, nil)
	}
	if r := s.Closed(aMoment); r.Expired != 1 || r.Failed > 0 {
		t.Errorf("%d calls without an answer, %d failed: %v", r.Expired, r.Failed, r.Failure)
	}
}
