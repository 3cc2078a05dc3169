package telemetry

import "github.com/prometheus/client_golang/prometheus"

// RegisterCatchingUp adds the metrics of watchers that catch up to a registry. stats returns
// how many wait for a page, and how many were refused.
func RegisterCatchingUp(registry prometheus.Registerer, stats func() (waiting int, refused int64)) {
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "userd_catching_up_waiting", Help: "Watchers that wait for a page of the past.",
		}, func() float64 {
			waiting, _ := stats()
			return float64(waiting)
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "userd_catching_up_refused_total", Help: "Watchers refused because too many waited for the past.",
		}, func() float64 {
			_, refused := stats()
			return float64(refused)
		}),
	)
}
