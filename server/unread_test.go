package server_test

import (
	"encoding/base64"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
	"github.com/example/userd/store"
)

// largeAttributes are 8 KB of them.
func largeAttributes() map[string]string {
	attributes := make(map[string]string)
	for i := range 8 {
		attributes[fmt.Sprint("text", i)] = strings.Repeat("x", 1000)
	}
	return attributes
}

// startWithLargeUsers runs a server that holds 2 MiB of large messages, with a hundred users of
// some 8 KB each, and returns their ids. The user someID is small.
func startWithLargeUsers(t *testing.T) (*servertest.Server, []string) {
	t.Helper()
	usual := debug.SetMemoryLimit(8 << 20)
	defer debug.SetMemoryLimit(usual)
	users := make([]store.NewUser, 100)
	ids := make([]string, len(users))
	for i := range users {
		ids[i] = uuid.NewString()
		users[i] = store.NewUser{ID: ids[i], Email: testEmail(i), DisplayName: testName(i)}
		for name, value := range largeAttributes() {
			users[i].Attributes = append(users[i].Attributes, store.Attribute{Name: name, Value: value})
		}
	}
	users = append(users, store.NewUser{ID: someID, Email: testEmail(len(ids)), DisplayName: testName(len(ids))})
	running := servertest.Start(t, func(config *server.Config) {
		config.Store, config.MaxMessageBytes = servertest.NewStore(t), 1<<20
		if _, err := config.Store.Import(t.Context(), users); err != nil {
			t.Fatal(err)
		}
	})
	return running, ids
}

// unreader makes calls whose answers it does not read.
type unreader struct {
	*rawConn
	last   uint32
	with   []string          // Further headers, names and values.
	told   map[uint32]bool   // Those of which something has come.
	begun  map[uint32]bool   // Those that are answered.
	failed map[uint32]string // Those that are refused, or let go.
}

func newUnreader(t *testing.T, running *servertest.Server) *unreader {
	t.Helper()
	raw, _ := dialRaw(t, running, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	raw.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return &unreader{rawConn: raw, last: ^uint32(0), told: make(map[uint32]bool), begun: make(map[uint32]bool), failed: make(map[uint32]string)}
}

// begin calls an RPC, and returns its stream.
func (u *unreader) begin(t *testing.T, method string, request []byte) uint32 {
	t.Helper()
	u.last += 2
	u.call(u.last, "/user.v1.UserService/"+method, u.with...)
	u.send(u.last, request)
	return u.last
}

// await returns when so many calls are answered, refused, or given up before they were: net/http
// resets those. What the server lets go meanwhile, since it has waited for too long, has failed, too.
func (u *unreader) await(calls int) {
	for len(u.told) < calls {
		switch frame := awaitFrame(u.rawConn, func(http2.Frame) bool { return true }).(type) {
		case *http2.MetaHeadersFrame:
			u.told[frame.StreamID] = true
			if !frame.StreamEnded() {
				u.begun[frame.StreamID] = true
				continue
			}
			details, _ := base64.RawStdEncoding.DecodeString(fieldOf(frame, "grpc-status-details-bin"))
			u.failed[frame.StreamID] = fieldOf(frame, "grpc-status") + string(details)
		case *http2.RSTStreamFrame:
			u.told[frame.StreamID] = true
			if u.failed[frame.StreamID] == "" {
				u.failed[frame.StreamID] = "reset"
			}
		}
	}
}

// awaitEmpty returns when a server holds no large messages any more.
func awaitEmpty(running *servertest.Server) {
	for running.LargeMessages() > 0 {
		runtime.Gosched()
	}
}

// padded is a request that is larger than those that are answered by the lane.
func padded(t *testing.T, request proto.Message) proto.Message {
	t.Helper()
	unknown := protowire.AppendTag(nil, 1000, protowire.BytesType)
	request.ProtoReflect().SetUnknown(protowire.AppendBytes(unknown, make([]byte, 20<<10)))
	return request
}

// Answers that nobody reads are bounded in all: what goes beyond is refused at once, and what
// they have held is there again when their callers go.
func TestUnreadAnswersHaveABound(t *testing.T) { // Alone: it changes the memory limit for a moment.
	running, ids := startWithLargeUsers(t)
	for name, test := range map[string]struct {
		method  string
		request proto.Message
	}{
		"BatchGetUsers":               {"BatchGetUsers", &userv1.BatchGetUsersRequest{UserIds: ids}},
		"BatchGetUsers, not the lane": {"BatchGetUsers", padded(t, &userv1.BatchGetUsersRequest{UserIds: ids})},
		"SearchUsers":                 {"SearchUsers", &userv1.SearchUsersRequest{PageSize: 100}},
		"SearchUsers, not the lane":   {"SearchUsers", padded(t, &userv1.SearchUsersRequest{PageSize: 100})},
		"ListUsers":                   {"ListUsers", &userv1.ListUsersRequest{PageSize: 100}},
		"ListUsers, all of them":      {"ListUsers", &userv1.ListUsersRequest{All: true}},
		"WatchUsers":                  {"WatchUsers", &userv1.WatchUsersRequest{Cursor: "earliest"}},
	} {
		t.Run(name, func(t *testing.T) { // One after the other: they share what the server may hold.
			const calls = 60
			caller := newUnreader(t, running)
			for range calls {
				caller.begin(t, test.method, envelope(t, test.request))
			}
			caller.await(calls)
			for stream, failure := range caller.failed { // Others were let go, which have waited for too long.
				if strings.Contains(failure, "OVERLOADED") && (!strings.HasPrefix(failure, "8") || !strings.Contains(failure, "google.rpc.RetryInfo")) {
					t.Errorf("call %d is refused with %q", stream, failure)
				}
			}
			if len(caller.begun) == 0 || len(caller.failed) < calls/2 {
				t.Errorf("%d answers have begun, %d calls are refused or let go: %v", len(caller.begun), len(caller.failed), caller.failed)
			}
			if held := running.LargeMessages(); held > 3<<20 {
				t.Errorf("%d bytes are held", held)
			}
			_ = caller.conn.Close()
			awaitEmpty(running)
		})
	}
}

// Answers of single users count where they wait, too, and so do small ones where the engine tells
// that they do.
func TestUnreadAnswersOfManyCalls(t *testing.T) { // Alone: it changes the memory limit for a moment.
	running, ids := startWithLargeUsers(t)
	type call struct {
		id   string
		with []string
	}
	tests := map[string]call{
		"lane":    {ids[0], nil},
		"handler": {ids[0], []string{"cookie", "a=b"}},
	}
	if servertest.HTTP2Transport() != server.Std {
		tests["handler, small"] = call{someID, []string{"cookie", "a=b"}}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { // One after the other: they share what the server may hold.
			before, calls := running.RefusedMessages(), 0
			var callers []*unreader
			for range 4 {
				caller := newUnreader(t, running)
				caller.with = test.with
				for range 100 {
					caller.begin(t, "GetUser", envelope(t, &userv1.GetUserRequest{UserId: test.id}))
				}
				caller.await(100)
				calls += 100
				callers = append(callers, caller)
			}
			if refused := running.RefusedMessages() - before; refused < int64(calls/4) {
				t.Errorf("%d of %d answers are refused, or let go", refused, calls)
			}
			if held := running.LargeMessages(); held > 3<<20 {
				t.Errorf("%d bytes are held", held)
			}
			for _, caller := range callers {
				_ = caller.conn.Close()
			}
			awaitEmpty(running)
		})
	}
}

// What was stored is answered as stored, however much waits to be read.
func TestAnswersOfWritesAreNotRefused(t *testing.T) { // Alone: it changes the memory limit for a moment.
	running, ids := startWithLargeUsers(t)
	const reads = 10
	caller := newUnreader(t, running)
	for range reads {
		caller.begin(t, "BatchGetUsers", envelope(t, &userv1.BatchGetUsersRequest{UserIds: ids}))
	}
	caller.await(reads)
	if len(caller.failed) == 0 {
		t.Fatal("there is room for all")
	}
	const writes = 20
	request := newUserRequest(1000)
	request.Attributes = largeAttributes()
	for i := range writes {
		request.Email = testEmail(1000 + i)
		caller.begin(t, "CreateUser", envelope(t, request))
	}
	caller.await(reads + writes)
	caller.must(caller.framer.WriteWindowUpdate(0, 1<<20))
	for stream := caller.last; stream > caller.last-2*writes; stream -= 2 {
		caller.must(caller.framer.WriteWindowUpdate(stream, 1<<20))
		end := awaitFrame(caller.rawConn, func(frame *http2.MetaHeadersFrame) bool { return frame.StreamEnded() })
		if status := fieldOf(end, "grpc-status"); end.StreamID != stream || status != "0" {
			t.Errorf("create %d ends with status %s of %d", stream, status, end.StreamID)
		}
	}
}
