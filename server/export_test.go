package server

import (
	"context"

	"connectrpc.com/connect/v2"
)

// Call calls an RPC as a transport does.
func (s *Server) Call(ctx context.Context, procedure string, info *connect.CallInfo, stream connect.ServerStream) error {
	return s.rpc.Call(ctx, procedure, info, stream)
}

// Codecs are the protobuf and the JSON codec of the server.
func Codecs() (binary, json connect.Codec) {
	all := codecs()
	return all[0], all[1]
}

// IsEncoded reports whether a response goes to the wire without being encoded.
func IsEncoded(msg any) bool {
	_, ok := msg.(encodedResponse)
	return ok
}
