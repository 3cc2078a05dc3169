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
func (r *Refusal) wrong() bool { return r == malformed || r == unknown || r == unknownKey }

var (
	missing = &Refusal{"missing", failure.Unauthenticated(
		"the request has no credentials: it needs the header Authorization with Bearer and a token, or a client certificate")}
	malformed = &Refusal{"malformed", failure.Unauthenticated("the header Authorization must be there once, and be Bearer and a token")}
	unknown   = &Refusal{"unknown", failure.Unauthenticated("the credentials of the request are not known")}
	expired   = &Refusal{"expired", failure.Unauthenticated("the client certificate has expired")}

	// Of a JWT. That it is unverified yet nobody is told.
	unverified   = &Refusal{"unknown", unknown.Status}
	unknownKey   = &Refusal{"unknown", unknown.Status}
	expiredToken = &Refusal{"expired", failure.Unauthenticated("the token has expired")}
	early        = &Refusal{"early", failure.Unauthenticated("the token is not valid yet")}
	otherClaims  = &Refusal{"claims", failure.Unauthenticated(
		"the token is of another issuer, for another audience, or lacks its subject (sub) or its end (exp)")}
	noKeys = &Refusal{"keys", failure.NoKeys}

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
	refused            *prometheus.CounterVec
	broken, brokenKeys prometheus.Gauge
}

func newMetrics() *metrics {
	m := &metrics{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "userd_auth_refused_total",
			Help: "Requests refused because of their credentials: missing, malformed, unknown, expired, without the scope; of JWT also not valid yet (early), of other claims, or without keys to verify them.",
		}, []string{"kind"}),
		broken: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "userd_auth_file_broken", Help: "1 while the file of principals cannot be read, and those of before are served.",
		}),
		brokenKeys: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "userd_auth_keys_broken", Help: "1 while the keys of JWT cannot be read, and those of before, if any, are good.",
		}),
	}
	for _, refusal := range []*Refusal{missing, malformed, unknown, expired, early, otherClaims, noKeys, missingScopes[Admin]} {
		m.refused.WithLabelValues(refusal.kind)
	}
	return m
}

func (m *metrics) register(registry prometheus.Registerer) {
	registry.MustRegister(m.refused, m.broken, m.brokenKeys)
}
