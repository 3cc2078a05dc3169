package load

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cmd/userbench/population"
	userv1 "github.com/example/userd/gen/user/v1"
)

const aMoment = 100 * time.Millisecond

func dial(t *testing.T, target Target) *Generator {
	t.Helper()
	g, err := Dial(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

func TestRightAnswersCount(t *testing.T) {
	t.Parallel()
	users := population.New(1, 100)
	address := serveHTTP2(t, users, right(users))
	g := dial(t, Target{Address: address, Wire: Wire{Protocol: GRPC, Codec: Proto}, Read: GetUser(users, Proto), Keys: Uniform(100)})
	r := g.Closed(aMoment)
	if r.Failed > 0 || r.Latency.TotalCount() == 0 {
		t.Errorf("%d answers, %d failed: %v", r.Latency.TotalCount(), r.Failed, r.Failure)
	}
}

func TestWrongAnswersAreCaught(t *testing.T) {
	t.Parallel()
	users := population.New(1, 100)
	other := users.User(7)
	nameless := proto.CloneOf(other)
	for name, say := range map[string]func(string) answer{
		"another user": func(string) answer {
			return answer{message: &userv1.GetUserResponse{User: other}, grpcStatus: "0"}
		},
		"no user": func(string) answer { return answer{message: &userv1.GetUserResponse{}, grpcStatus: "0"} },
		"no email": func(id string) answer {
			user := proto.CloneOf(nameless)
			user.Id, user.Email = id, ""
			return answer{message: &userv1.GetUserResponse{User: user}, grpcStatus: "0"}
		},
		"two users": func(id string) answer {
			user := proto.CloneOf(other)
			user.Id = id
			return answer{message: &userv1.BatchGetUsersResponse{Users: []*userv1.User{user, user}}, grpcStatus: "0"}
		},
		"an error": func(id string) answer {
			user := proto.CloneOf(other)
			user.Id = id
			return answer{message: &userv1.GetUserResponse{User: user}, grpcStatus: "13"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := dial(t, Target{
				Address: serveHTTP2(t, users, say), Connections: 1, Streams: 1,
				Wire: Wire{Protocol: GRPC, Codec: Proto}, Read: GetUser(users, Proto), Keys: onlyKey(3),
			})
			if r := g.Closed(aMoment); r.Failed == 0 || r.Latency.TotalCount() > 0 || r.Failure == nil {
				t.Errorf("%d failed, %d were taken for right", r.Failed, r.Latency.TotalCount())
			}
		})
	}
}

func TestWrongJSONIsCaught(t *testing.T) {
	t.Parallel()
	users := population.New(1, 10)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	for _, body := range []string{`{}`, `{"user":{"id":"` + users.ID(4) + `"}}`, `{"user":{"id":"` + users.ID(3) + `"}`, ``} {
		g := dial(t, Target{
			Address: serve(t, protocols, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }),
			Wire:    Wire{Protocol: ConnectHTTP1, Codec: JSON}, Connections: 1, Streams: 1,
			Read: GetUser(users, JSON), Keys: onlyKey(3),
		})
		if r := g.Closed(aMoment); r.Failed == 0 || r.Latency.TotalCount() > 0 {
			t.Errorf("%q was taken for right", body)
		}
	}
}

// onlyKey always chooses the same user.
type onlyKey int

func (k onlyKey) Choose(*rand.Rand) int { return int(k) }

func TestHTTP1SpeaksJSONAndGET(t *testing.T) {
	t.Parallel()
	users := population.New(1, 10)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	var gets atomic.Int64
	address := serve(t, protocols, func(w http.ResponseWriter, r *http.Request) {
		var request struct{ UserID string }
		if r.Method == http.MethodGet {
			gets.Add(1)
			_, _ = fmt.Fprintf(w, `{"user": {"id": %q}}`, users.ID(3))
			return
		}
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		w.(http.Flusher).Flush() // Makes it a chunked response.
		_, _ = io.WriteString(w, strings.Repeat(" ", 20_000)+`{"user": {"id":"`+request.UserID+`"}}`)
	})
	for _, get := range []bool{false, true} {
		g := dial(t, Target{
			Address: address, Wire: Wire{Protocol: ConnectHTTP1, Codec: JSON, Get: get}, Connections: 2, Streams: 2,
			Read: GetUser(users, JSON), Keys: onlyKey(3),
		})
		if r := g.Closed(aMoment); r.Failed > 0 || r.Latency.TotalCount() == 0 {
			t.Errorf("get %t: %d answers: %v", get, r.Latency.TotalCount(), r.Failure)
		}
	}
	if gets.Load() == 0 {
		t.Error("no call was a GET")
	}
}

// TestOpenLoopShowsAStall lets a server stand still once, for half of the run. A
// closed loop has a handful of slow calls then; an open one has all those that were
// due meanwhile.
func TestOpenLoopShowsAStall(t *testing.T) {
	t.Parallel()
	users := population.New(1, 10)
	const run, stall = 600 * time.Millisecond, 300 * time.Millisecond
	var stalled atomic.Bool
	say := right(users)
	address := serveHTTP2(t, users, func(id string) answer {
		said := say(id)
		if !stalled.Swap(true) {
			said.stall = stall
		}
		return said
	})
	g := dial(t, Target{
		Address: address, Connections: 1, Streams: 1, Wire: Wire{Protocol: GRPC, Codec: Proto},
		Read: GetUser(users, Proto), Keys: Uniform(10),
	})
	g.lanes[0].lock()
	g.lanes[0].conn.(*unaryConn).maxStreams = 1
	g.lanes[0].unlock()
	r, err := g.Open(1000, run)
	if err != nil {
		t.Fatal(err)
	}
	if r.Failed > 0 {
		t.Fatal(r.Failure)
	}
	// Of 600 calls the first 300 waited, on average for half of the stall.
	if p75 := r.Latency.ValueAtPercentile(75); p75 < stall.Microseconds()/4 {
		t.Errorf("the slowest quarter of the calls took from %d µs, as if there had been no stall", p75)
	}
	if total := r.Latency.TotalCount(); total < 400 {
		t.Errorf("%d calls of about 600 are in the histogram", total)
	}
}

func TestOpenLoopKeepsItsRate(t *testing.T) {
	t.Parallel()
	users := population.New(1, 10)
	g := dial(t, Target{
		Address: serveHTTP2(t, users, right(users)), Wire: Wire{Protocol: GRPC, Codec: Proto},
		Read: GetUser(users, Proto), Keys: Uniform(10),
	})
	r, err := g.Open(500, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if due := r.Latency.TotalCount(); r.Failed > 0 || due < 400 || due > 600 {
		t.Errorf("%d calls of about 500 were due, %d failed: %v", due, r.Failed, r.Failure)
	}
}

func TestADeadServerEndsTheRun(t *testing.T) {
	t.Parallel()
	users := population.New(1, 10)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	calls := new(atomic.Int64)
	address := serve(t, protocols, func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 10 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusTeapot)
	})
	g := dial(t, Target{Address: address, Wire: Wire{Protocol: GRPC, Codec: Proto}, Read: GetUser(users, Proto), Keys: Uniform(10)})
	if r := g.Closed(aMoment); r.Failed == 0 {
		t.Error("nothing failed")
	}
}
