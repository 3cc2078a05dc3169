package edge

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/server/failure"
)

// AllowedHosts are the hosts whose requests are answered. A web page may read what
// its own host answers, and whoever owns the name of that host can point it at this
// server (DNS rebinding). The requests of the page still carry the name, so a name
// must be known. What cannot be pointed elsewhere needs no permission: localhost, and
// IP addresses.
type AllowedHosts struct {
	all     bool
	names   map[string]bool
	domains []string // With a dot in front: all names below are allowed.
	refused prometheus.Counter
}

// NewAllowedHosts allows names as Config.AllowedHosts of package server has them.
func NewAllowedHosts(names []string, registry *prometheus.Registry) *AllowedHosts {
	a := &AllowedHosts{
		names:   map[string]bool{"": true, "localhost": true}, // Browsers never leave it out, old health checks do.
		domains: []string{".localhost"},
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "userd_hosts_refused_total", Help: "Requests refused because their host is not one of --allowed-host.",
		}),
	}
	registry.MustRegister(a.refused)
	for _, name := range names {
		name = normalHost(name)
		switch {
		case name == "*":
			a.all = true
		case strings.HasPrefix(name, "*."):
			a.domains = append(a.domains, name[1:])
		default:
			a.names[name] = true
		}
	}
	return a
}

// normalHost is a host as names are compared.
func normalHost(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// Allows reports whether a request for this authority, host or host:port, is
// answered. The context is that of the request or of its connection. Clients of gRPC that are
// told several addresses, as in "ipv4:10.0.0.1:8080,10.0.0.2:8080", ask each for all of them.
func (a *AllowedHosts) Allows(ctx context.Context, authority string) bool {
	if a.all {
		return true
	}
	for host := range strings.SplitSeq(authority, ",") {
		if !a.allowsHost(ctx, host) {
			return false
		}
	}
	return true
}

// allowsHost is Allows for one host.
func (a *AllowedHosts) allowsHost(ctx context.Context, authority string) bool {
	host := normalHost(withoutPort(authority))
	if a.names[host] {
		return true
	}
	for _, domain := range a.domains {
		if strings.HasSuffix(host, domain) && len(host) > len(domain) {
			return true
		}
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && (ip.Unmap().IsLoopback() || !isLocal(ctx))
}

// isLocal reports whether a request came over the loopback interface. One that comes there
// and names another address was sent by a page whose name points here.
func isLocal(ctx context.Context) bool {
	address, ok := ctx.Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return !ok || address.IP.IsLoopback()
}

func withoutPort(authority string) string {
	if colon := strings.LastIndexByte(authority, ':'); colon > strings.LastIndexByte(authority, ']') {
		return authority[:colon]
	}
	return authority
}

// Handler answers requests for other hosts with 421 Misdirected Request, or, where
// the protocol has no HTTP status, with PERMISSION_DENIED. Those that isOpen reports are
// answered for any host.
func (a *AllowedHosts) Handler(isOpen func(*http.Request) bool) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if a.Allows(r.Context(), r.Host) || isOpen(r) {
				next.ServeHTTP(w, r)
				return
			}
			a.refused.Inc()
			if r.ProtoMajor == 1 {
				w.Header().Set("Connection", "close") // Nobody waits for the request to come whole.
			}
			refuseAs(w, r, http.StatusMisdirectedRequest, failure.WrongHost(withoutPort(r.Host)))
		})
	}
}
