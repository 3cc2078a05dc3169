package h2

import "sync/atomic"

// Stats are the counters of a server. Those that end in Open go up and down, the
// others only up.
type Stats struct {
	ConnectionsOpen    int64 // HTTP/2 connections.
	Connections        int64
	ConnectionsRefused int64 // Over Config.MaxConnections.
	StreamsOpen        int64
	Requests           int64 // Streams that were not refused.
	Calls              int64 // Requests that took the lane.
	InlineCalls        int64 // Calls that ran on the reader of their connection.
	RefusedStreams     int64 // Over Config.MaxConcurrentStreams.
	ResetsReceived     int64 // RST_STREAM from peers.
	StreamErrors       int64 // Streams reset because the peer broke a rule.
	ConnectionErrors   int64 // Connections closed because the peer broke a rule.
	Floods             int64 // Those of them closed with ENHANCE_YOUR_CALM.
	Timeouts           int64 // Connections closed for silence, and streams for not being read.
	Panics             int64
}

type counters struct {
	connectionsOpen, connections, connectionsRefused atomic.Int64
	streams, requests, calls, inlineCalls            atomic.Int64
	refusedStreams, resetsReceived, streamErrors     atomic.Int64
	connectionErrors, floods, timeouts, panics       atomic.Int64

	admitted atomic.Int64 // Connections that listeners have let in and not closed.
}

// count counts the end of a connection.
func (c *counters) count(wrong *frameError) {
	if wrong.code != codeNone {
		c.connectionErrors.Add(1)
	}
	if wrong.code == codeEnhanceYourCalm {
		c.floods.Add(1)
	}
}

// Stats returns the counters of the server.
func (s *Server) Stats() Stats {
	c := &s.stats
	return Stats{
		ConnectionsOpen:    c.connectionsOpen.Load(),
		Connections:        c.connections.Load(),
		ConnectionsRefused: c.connectionsRefused.Load(),
		StreamsOpen:        c.streams.Load(),
		Requests:           c.requests.Load(),
		Calls:              c.calls.Load(),
		InlineCalls:        c.inlineCalls.Load(),
		RefusedStreams:     c.refusedStreams.Load(),
		ResetsReceived:     c.resetsReceived.Load(),
		StreamErrors:       c.streamErrors.Load(),
		ConnectionErrors:   c.connectionErrors.Load(),
		Floods:             c.floods.Load(),
		Timeouts:           c.timeouts.Load(),
		Panics:             c.panics.Load(),
	}
}
