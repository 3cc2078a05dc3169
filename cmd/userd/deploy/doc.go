// Package deploy is what userd runs with: alerts and a dashboard for Prometheus and Grafana, a
// unit for systemd, manifests for Kubernetes, and the runbook. Its Go code is their tests.
//
//   - prometheus: alerts.yaml with the alerts, alerts_test.yaml for promtool, prometheus.yml for
//     the profile observability of compose.yaml, kubernetes.yml for the manifests
//   - grafana: the dashboard userd.json, and what Grafana reads it by
//   - systemd: a unit that lets userd do no more than it must
//   - kubernetes: manifests for kustomize; accepted checks them with the code of Kubernetes
//   - RUNBOOK.md: what to do about each alert. Its incidents are played by incidents_test.go
package deploy
