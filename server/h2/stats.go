package h2

import "sync/atomic"

// Stats are the counters of a server. Those that end in Open go up and down, the
// others only up.
type Stats struct {
	ConnectionsOpen  atomic.Int64 // HTTP/2 connections.
	Connections      atomic.Int64
	StreamsOpen      atomic.Int64
	Inline           atomic.Int64 // Requests that Config.Direct answers on the reader of their connection.
	Direct           atomic.Int64 // Those that it answers elsewhere.
	Handled          atomic.Int64 // Those that Config.Handler answers.
	RefusedStreams   atomic.Int64 // Over Config.MaxConcurrentStreams.
	ResetsReceived   atomic.Int64 // RST_STREAM from peers.
	StreamErrors     atomic.Int64 // Streams reset because the peer broke a rule.
	ConnectionErrors atomic.Int64 // Connections closed because the peer broke a rule.
	Floods           atomic.Int64 // Those of them closed with ENHANCE_YOUR_CALM.
	Timeouts         atomic.Int64 // Connections closed for silence, and streams for not being read.
	Panics           atomic.Int64
}
