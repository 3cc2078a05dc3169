package server

import (
	"context"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/server/lane"
)

// Call calls an RPC as a transport does.
func (s *Server) Call(ctx context.Context, procedure string, info *connect.CallInfo, stream connect.ServerStream) error {
	return s.rpc.Call(ctx, procedure, info, stream)
}

// LargeMessages is how many bytes large messages hold.
func (s *Server) LargeMessages() int {
	held, _ := s.budget.Stats()
	return held
}

// RefusedMessages is how often there was no room for a large message, or for an answer. It counts
// those that were let go for others, since they were slow.
func (s *Server) RefusedMessages() int64 {
	_, refused := s.budget.Stats()
	return refused
}

// Lane is the fast way for unary calls.
func (s *Server) Lane() *lane.Lane { return s.lane }
