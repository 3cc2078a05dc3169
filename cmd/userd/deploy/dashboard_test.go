package deploy_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// dashboard is what a test looks at in a dashboard of Grafana.
type dashboard struct {
	UID        string
	Panels     []panel
	Templating struct {
		List []struct{ Name, AllValue string }
	}
}

type panel struct {
	ID          int
	Type, Title string
	Targets     []struct{ Expr, LegendFormat string }
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(readFile(t, "grafana/userd.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// Grafana's schema asks for more fields than it needs to show a panel.
func TestDashboardHasTheFieldsOfTheSchema(t *testing.T) {
	t.Parallel()
	var d struct {
		Annotations *struct{ List []any }
		Panels      []struct {
			Type    string
			Panels  []any
			Options struct {
				Legend struct {
					DisplayMode, Placement string
					ShowLegend             *bool
					Calcs                  []any
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(readFile(t, "grafana/userd.json")), &d); err != nil {
		t.Fatal(err)
	}
	if d.Annotations == nil || d.Annotations.List == nil || len(d.Panels) == 0 {
		t.Error("there is no list of annotations, or there are no panels")
	}
	for i, p := range d.Panels {
		legend := p.Options.Legend
		switch {
		case p.Type == "row" && p.Panels == nil:
			t.Errorf("panel %d, a row, has no list of panels", i)
		case p.Type != "row" && (legend.DisplayMode == "" || legend.Placement == "" || legend.ShowLegend == nil || legend.Calcs == nil):
			t.Errorf("panel %d has a legend with %+v", i, legend)
		}
	}
}

func TestDashboardIsWhole(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	known := make(map[int]bool)
	for _, p := range d.Panels {
		if known[p.ID] || p.Title == "" || (p.Type == "row") != (len(p.Targets) == 0) {
			t.Errorf("panel %d, %q, is there twice, has no title or shows nothing", p.ID, p.Title)
		}
		known[p.ID] = true
	}
	for _, variable := range d.Templating.List {
		if variable.AllValue != "" { // Such as .*, which would be those of other programs, too.
			t.Errorf("all of %s are not those that are listed, but %s", variable.Name, variable.AllValue)
		}
	}
	for _, title := range []string{
		"Calls by RPC", "Errors by RPC and code", "p50 by RPC", "p99 by RPC", "Users read, by tier", "Staleness of reads (at most 2 s)",
		"Relay lag", "Connections of the pools", "Refused, by class", "Memory",
	} {
		if !strings.Contains(readFile(t, "grafana/userd.json"), fmt.Sprintf("%q: %q", "title", title)) {
			t.Errorf("there is no panel %q", title)
		}
	}
}

// expressions are those of all panels, as Grafana sends them.
func (d dashboard) expressions() map[string]string {
	all := make(map[string]string)
	grafana := strings.NewReplacer("[$__rate_interval]", "[10s]", "$instance", ".*")
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			all[grafana.Replace(target.Expr)] = p.Title
		}
	}
	return all
}

// hasData reports whether an expression has a value that is a number.
func (p *prometheus) hasData(expression string) bool {
	p.t.Helper()
	for _, sample := range p.query(expression) {
		if sample.Value[1] != "NaN" {
			return true
		}
	}
	return false
}

// A real Prometheus looks at a real server under a little load of every kind: each expression
// of the dashboard has data, and each metric of the alerts is there.
func TestDashboardAndAlertsHaveData(t *testing.T) {
	t.Parallel()
	s := startBusy(t)
	p := startPrometheus(t, s.server, s.token)
	stop := s.work()
	defer stop()
	for expression, title := range readDashboard(t).expressions() {
		p.await(title+" has data: "+expression, func() bool { return p.hasData(expression) })
	}
	for _, rule := range p.rules() {
		p.await(rule.Name+" is evaluated", func() bool { return p.health(rule.Name) == "ok" })
		for _, name := range metricsOf(rule.Query) {
			if !p.hasData(name) {
				t.Errorf("%s: there is no metric %s", rule.Name, name)
			}
		}
	}
}

func (p *prometheus) health(alert string) string {
	for _, rule := range p.rules() {
		if rule.Name == alert {
			return rule.Health
		}
	}
	return ""
}
