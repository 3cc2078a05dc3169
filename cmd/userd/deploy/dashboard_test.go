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
	Templating struct{ List []struct{ Name string } }
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
	for _, title := range []string{
		"Calls by RPC", "Errors by RPC and code", "p50 by RPC", "p99 by RPC", "Users read, by tier", "Staleness of reads (at most 2 s)",
		"Relay lag", "Connections of the pools", "Refused, by class", "Memory",
	} {
		if !strings.Contains(readFile(t, "grafana/userd.json"), fmt.Sprintf("%q: %q", "title", title)) {
			t.Errorf("there is no panel %q", title)
		}
	}
}
