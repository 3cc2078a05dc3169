package server

import (
	"context"

	"connectrpc.com/connect/v2"
)

// Call calls an RPC as a transport does.
func (s *Server) Call(ctx context.Context, procedure string, info *connect.CallInfo, stream connect.ServerStream) error {
	return s.rpc.Call(ctx, procedure, info, stream)
}
