package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/example/userd/store/guard"
)

// RegisterPanics adds the number of panics to a registry.
func RegisterPanics(registry prometheus.Registerer) {
	registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "userd_panics_total",
		Help: "Panics outside of calls that were recovered: each is a defect.",
	}, func() float64 { return float64(guard.Panics()) }))
}
