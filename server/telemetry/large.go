package telemetry

import "github.com/prometheus/client_golang/prometheus"

// RegisterLargeMessages adds the metrics of large messages to a registry. stats returns how
// many bytes they hold, and how often more were refused.
func RegisterLargeMessages(registry prometheus.Registerer, stats func() (held int, refused int64)) {
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "userd_large_messages_bytes", Help: "Bytes of messages of more than 128 KiB that are not handled yet, and of answers that wait to be read.",
		}, func() float64 {
			held, _ := stats()
			return float64(held)
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "userd_large_messages_refused_total", Help: "Large messages and answers refused or given up because there were too many at a time.",
		}, func() float64 {
			_, refused := stats()
			return float64(refused)
		}),
	)
}
