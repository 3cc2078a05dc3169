package telemetry

import (
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// RegisterBuild adds a metric that says what runs to a registry: the version, and what the
// toolchain has noted of the sources that it was built from.
func RegisterBuild(registry prometheus.Registerer, version string) {
	labels := prometheus.Labels{"version": version, "goversion": runtime.Version(), "revision": "", "modified": ""}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			switch setting.Key {
			case "vcs.revision":
				labels["revision"] = setting.Value
			case "vcs.modified":
				labels["modified"] = setting.Value
			}
		}
	}
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "userd_build_info", Help: "What runs; always 1.", ConstLabels: labels,
	}, func() float64 { return 1 }))
}
