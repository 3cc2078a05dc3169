package edge

import (
	"context"
	"net/netip"

	"connectrpc.com/connect/v2"

	"github.com/example/userd/server/auth"
	"github.com/example/userd/server/connections"
)

// CallerOf says whose a call is, by its context: the name of a principal, or the address
// where none is known. It is "" for what is no call.
func CallerOf(ctx context.Context) string {
	call, ok := connect.CallInfoForServerContext(ctx)
	if !ok {
		return ""
	}
	return CallerFrom(ctx, call.PeerAddr)
}

// CallerFrom is CallerOf for a call from this address, host:port, that has not begun.
func CallerFrom(ctx context.Context, remote string) string {
	if name := auth.NameOf(ctx); name != "" {
		return name
	}
	return networkOf(remote)
}

// networkOf is what tells one address, host:port, from another: all of IPv4, the network of
// IPv6. What is none of IP is "".
func networkOf(remote string) string {
	address, err := netip.ParseAddrPort(remote)
	if err != nil {
		return ""
	}
	return connections.NetworkOf(address).String()
}
