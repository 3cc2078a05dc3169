package auth

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/server/failure"
)

// Refusal is why a request is not let in.
type Refusal struct {
	kind   string // In metrics.
	Status failure.Status
}

// wrong reports whether the credentials were, which those of honest callers seldom are.
func (r *Refusal) wrong() bool { return r == malformed || r == unknown }

var (
	missing = &Refusal{"missing", failure.Unauthenticated(
		"the request has no credentials: it needs the header Authorization with Bearer and a token, or a client certificate")}
	malformed = &Refusal{"malformed", failure.Unauthenticated("the header Authorization must be there once, and be Bearer and a token")}
	unknown   = &Refusal{"unknown", failure.Unauthenticated("the credentials of the request are not known")}
	expired   = &Refusal{"expired", failure.Unauthenticated("the client certificate has expired")}

	missingScopes = func() map[Scope]*Refusal {
		refusals := make(map[Scope]*Refusal)
		for _, scope := range grantable {
			refusals[scope] = &Refusal{"scope", failure.MissingScope(string(scope))}
		}
		return refusals
	}()
)

// Refuse counts a request that is not let in. It returns later where wrong credentials
// come from the same address again and again.
func (a *Authorizer) Refuse(ctx context.Context, remote string, why *Refusal) {
	a.metrics.refused.WithLabelValues(why.kind).Inc()
	if !why.wrong() {
		return
	}
	wait := a.late.add(networkOf(remote), time.Now())
	if wait == 0 {
		return
	}
	defer a.late.done()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

type metrics struct {
	refused *prometheus.CounterVec
	broken  prometheus.Gauge
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "userd_auth_refused_total",
			Help: "Requests refused because of their credentials: missing, malformed, unknown, expired, or without the scope.",
		}, []string{"kind"}),
		broken: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "userd_auth_file_broken", Help: "1 while the file of principals cannot be read, and those of before are served.",
		}),
	}
	for _, refusal := range []*Refusal{missing, malformed, unknown, expired, missingScopes[Admin]} {
		m.refused.WithLabelValues(refusal.kind)
	}
	registry.MustRegister(m.refused, m.broken)
	return m
}
