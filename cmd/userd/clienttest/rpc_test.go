package clienttest

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"connectrpc.com/connect/v2"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	userv1 "github.com/example/userd/gen/user/v1"
)

// service describes the RPCs that the clients call.
var service = userv1.File_user_v1_user_service_proto.Services().ByName("UserService")

// client is a client of another maker.
type client struct {
	open func(ctx context.Context, method protoreflect.Name) *rpc
	// What it can do besides unary RPCs and server streams.
	clientStreams, bidiStreams bool
}

// rpc is one call of a client. Its messages are JSON.
type rpc struct {
	send      func(request []byte)
	close     func() // Ends the requests.
	cancel    func()
	responses chan []byte // Closed at the end.
	end       end         // Valid once responses is closed.
}

// newRPC returns an rpc with room for all responses of the scenario, so that no
// client waits for the test to read.
func newRPC() *rpc {
	return &rpc{responses: make(chan []byte, 2*rowCount)}
}

func (r *rpc) finish(e end) {
	r.end = e
	close(r.responses)
}

// end is how a call ended.
type end struct {
	Code    uint32            `json:"code"` // 0 for success, else a connect.Code.
	Message string            `json:"message"`
	Details []json.RawMessage `json:"details"`
	Trailer map[string]string `json:"trailer"`

	err error // The client itself failed.
}

// String is what all clients must agree on: the code, and what the details say.
func (e end) String() string {
	switch {
	case e.err != nil:
		return e.err.Error()
	case e.Code == 0:
		return "ok"
	}
	words := []string{connect.Code(e.Code).String()}
	for _, detail := range e.Details {
		words = append(words, describe(detail))
	}
	return strings.Join(words, " ")
}

func describe(detail []byte) string {
	var packed anypb.Any
	if err := protojson.Unmarshal(detail, &packed); err != nil {
		return fmt.Sprintf("%v: %s", err, detail)
	}
	message, err := packed.UnmarshalNew()
	if err != nil {
		return err.Error()
	}
	switch m := message.(type) {
	case *errdetails.ErrorInfo:
		return m.GetDomain() + "/" + m.GetReason()
	case *errdetails.BadRequest:
		var fields []string
		for _, violation := range m.GetFieldViolations() {
			fields = append(fields, jsonHumps.ReplaceAllStringFunc(violation.GetField(), func(hump string) string {
				return "_" + strings.ToLower(hump) // Clients that speak JSON are told userId.
			}))
		}
		return strings.Join(fields, ",")
	}
	return string(message.ProtoReflect().Descriptor().FullName())
}

var jsonHumps = regexp.MustCompile("[A-Z]")

// reason is the reason in the details, as the enum has it.
func (e end) reason() string {
	for _, detail := range e.Details {
		if _, reason, ok := strings.Cut(describe(detail), "user.v1/"); ok {
			return "REASON_" + reason
		}
	}
	return e.String()
}
