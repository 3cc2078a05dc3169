package server

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect/v2"

	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/server/auth"
	"github.com/example/userd/server/edge"
	"github.com/example/userd/server/failure"
	"github.com/example/userd/server/lane"
	"github.com/example/userd/server/telemetry"
	"github.com/example/userd/server/wire"
)

// refuser is [lane.Config.Refuse]: lookups that the store would refuse need not begin. There
// are thousands of them a second where there are any, and what they cost is taken from those
// that are served.
func (s *Server) refuser() func(connect.Spec, http.Header) lane.Refuser {
	if s.config.Refuse == nil {
		return nil
	}
	return func(spec connect.Spec, header http.Header) lane.Refuser {
		if !s.users.AsksStore(spec.Procedure, header) {
			return nil
		}
		metrics := s.calls.Of(spec)
		return func(ctx context.Context, call lane.Arrival) *connect.Error { return s.refuse(ctx, metrics, call) }
	}
}

// refuse refuses a call of GetUser that the store would refuse if it came now, and counts it
// as others. It has no span. One that is not valid begins, and is told so; so do all while
// each has a line in the log.
func (s *Server) refuse(ctx context.Context, metrics *telemetry.CallMetrics, call lane.Arrival) *connect.Error {
	if s.config.Logger.Enabled(ctx, slog.LevelDebug) {
		return nil
	}
	began := time.Now()
	var request userv1.GetUserRequest
	if !wire.DecodeKnown(call.Codec, call.Message, &request) || s.rules.Validate(&request) != nil {
		return nil
	}
	refused := s.config.Refuse(ctx, call.PeerAddr) // If so it is counted, and must not begin.
	if refused == nil {
		return nil
	}
	shown := failure.ForCaller(ctx, refused)
	metrics.Refused(ctx, call.Protocol, len(call.Message), shown.Code(), time.Since(began))
	return shown
}

// tooManyLarge is made once: where it is needed, it is needed often.
var tooManyLarge = sync.OnceValue(func() *connect.Error {
	return failure.ForCaller(context.Background(), failure.ErrTooManyLargeMessages)
})

// countAnswer is [lane.Config.Count]. The answer of a write is sent whether there is room for it
// or not.
func (s *Server) countAnswer(ctx context.Context, spec connect.Spec, peer string, bytes int) (lane.Counted, *connect.Error) {
	scope := auth.ScopeOf(spec.Procedure)
	must := scope != auth.UsersRead && scope != auth.UsersList
	hold, err := s.budget.Answer(edge.CallerFrom(ctx, peer), bytes, must)
	if err != nil {
		return nil, tooManyLarge()
	}
	return hold, nil
}
