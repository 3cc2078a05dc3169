//go:build unix

package server_test

import (
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server"
	"github.com/example/userd/server/servertest"
)

// maxTrailerBytes is what peers take that say nothing else, grpc-java among them.
const maxTrailerBytes = 8 << 10

// The trailers of a refusal are not larger than their peer takes: one that gets more ends
// the connection, with all other calls on it. A call that has come whole takes the lane,
// the others are for connecthttp.
func TestTrailersFit(t *testing.T) {
	t.Parallel()
	badIDs := &userv1.BatchGetUsersRequest{UserIds: make([]string, 100)}
	for name, test := range map[string]struct {
		method  string
		message proto.Message
		whole   bool
	}{
		"lane":          {"BatchGetUsers", badIDs, true},
		"connecthttp":   {"ListUsers", &userv1.ListUsersRequest{PageSize: -1, PageToken: strings.Repeat("t", 600)}, true},
		"large request": {"CreateUser", &userv1.CreateUserRequest{Roles: make([]string, mistakes)}, false},
	} {
		for _, limit := range []uint32{0, 300, 1 << 20} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				running := servertest.Start(t, func(config *server.Config) {
					if limit > 0 { // net/http takes no notice of it.
						config.HTTP2 = server.Engine
					}
				})
				var settings []http2.Setting
				if limit > 0 {
					settings = []http2.Setting{{ID: http2.SettingMaxHeaderListSize, Val: limit}}
				}
				raw, _ := dialRaw(t, running, settings...)
				raw.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
				raw.call(1, "/user.v1.UserService/"+test.method)
				raw.send(1, envelope(t, test.message))
				checkTrailers(t, raw, limit)
			})
		}
	}
}

// checkTrailers checks the end of a call that is refused with INVALID_ARGUMENT.
func checkTrailers(t *testing.T, raw *rawConn, limit uint32) {
	t.Helper()
	end := awaitFrame(raw, func(frame *http2.MetaHeadersFrame) bool { return frame.StreamEnded() })
	size, values := uint32(0), make(map[string]string)
	for _, field := range end.Fields {
		size += field.Size()
		values[field.Name] = field.Value
	}
	most := uint32(maxTrailerBytes)
	if limit > 0 {
		most = min(limit, most)
	}
	if size > most {
		t.Errorf("trailers have %d bytes, want at most %d", size, most)
	}
	if values["grpc-status"] != "3" || values["grpc-message"] == "" {
		t.Errorf("status is %q, text %q", values["grpc-status"], values["grpc-message"])
	}
	if hasDetails := values["grpc-status-details-bin"] != ""; hasDetails == (limit == 300) {
		t.Errorf("limit %d: details are there: %v", limit, hasDetails)
	}
}
