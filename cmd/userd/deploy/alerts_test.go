package deploy_test

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/example/userd/cmd/userd/userdtest"
)

func TestPromtoolAcceptsConfigurationAndAlerts(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"check", "config", "prometheus/prometheus.yml"},
		{"check", "config", "--syntax-only", "prometheus/kubernetes.yml"}, // Its token is elsewhere.
		{"check", "rules", "prometheus/alerts.yaml"},
		{"test", "rules", "prometheus/alerts_test.yaml"},
	} {
		if out, err := exec.Command(userdtest.Program(t, "promtool"), args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// In Kubernetes Prometheus finds the servers by a service that has those that are not ready, too:
// else its alerts would know nothing of what is wrong with them.
func TestPrometheusFindsAllServersInKubernetes(t *testing.T) {
	t.Parallel()
	config := readFile(t, "prometheus/kubernetes.yml")
	name := regexp.MustCompile(`names: \[([a-z-]+)\.`).FindStringSubmatch(config)
	if name == nil {
		t.Fatalf("no service is looked for: %s", config)
	}
	for service := range strings.SplitSeq(readFile(t, "kubernetes/service.yaml"), "---\n") {
		if !strings.Contains(service, "\n  name: "+name[1]+"\n") {
			continue
		}
		for _, line := range []string{"  clusterIP: None", "  publishNotReadyAddresses: true", "      port: 9090"} {
			if !strings.Contains(service, line+"\n") {
				t.Errorf("%s has no line %q", name[1], line)
			}
		}
		if !strings.Contains(config, "port: 9090\n") {
			t.Error("Prometheus looks at another port")
		}
		return
	}
	t.Errorf("there is no service %s", name[1])
}

// alertNames are the alerts in the order of the file.
func alertNames(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, match := range regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(readFile(t, "prometheus/alerts.yaml"), -1) {
		names = append(names, match[1])
	}
	if len(names) == 0 {
		t.Fatal("there are no alerts")
	}
	return names
}

func TestEachAlertIsTested(t *testing.T) {
	t.Parallel()
	tests := readFile(t, "prometheus/alerts_test.yaml")
	for _, name := range alertNames(t) {
		if !strings.Contains(tests, "- alertname: "+name+"\n") {
			t.Errorf("alerts_test.yaml has no %s that fires", name)
		}
	}
}

var (
	heading  = regexp.MustCompile(`(?m)^## (.*)$`)
	anchored = regexp.MustCompile(`runbook: RUNBOOK\.md#(\S+)`)
)

// Each alert names a section of the runbook, and that section names the alert.
func TestTheRunbookHasEachAlert(t *testing.T) {
	t.Parallel()
	runbook := readFile(t, "RUNBOOK.md")
	sections := make(map[string]string)
	headings := heading.FindAllStringSubmatchIndex(runbook, -1)
	for i, at := range headings {
		end := len(runbook)
		if i+1 < len(headings) {
			end = headings[i+1][0]
		}
		anchor := strings.ReplaceAll(strings.ToLower(runbook[at[2]:at[3]]), " ", "-")
		sections[anchor] = runbook[at[0]:end]
	}
	anchors := anchored.FindAllStringSubmatch(readFile(t, "prometheus/alerts.yaml"), -1)
	names := alertNames(t)
	if len(anchors) != len(names) {
		t.Fatalf("%d alerts name %d sections", len(names), len(anchors))
	}
	for i, name := range names {
		if !strings.Contains(sections[anchors[i][1]], "`"+name+"`") {
			t.Errorf("the section %s of the runbook does not name %s", anchors[i][1], name)
		}
	}
	for _, named := range regexp.MustCompile("`(Userd[A-Z]\\w+)`").FindAllStringSubmatch(runbook, -1) {
		if !slices.Contains(names, named[1]) {
			t.Errorf("the runbook names %s, which is no alert", named[1])
		}
	}
}

var (
	inBraces   = regexp.MustCompile(`\{[^}]*\}|"[^"]*"|\b(by|without|on) \([^)]*\)`)
	metricName = regexp.MustCompile(`\b(userd|rpc|db|go|process)_\w+`)
)

// metricsOf are the names of metrics in an expression.
func metricsOf(expression string) []string {
	return metricName.FindAllString(inBraces.ReplaceAllString(expression, ""), -1)
}
