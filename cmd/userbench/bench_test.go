package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/population"
	"github.com/example/userd/cmd/userbench/report"
)

func TestEveryGoalIsARow(t *testing.T) {
	t.Parallel()
	r := &report.Report{Figures: make(map[string]report.Figure)}
	r.Goals = evaluate(r)
	text := r.Markdown()
	for _, g := range goals {
		if !strings.Contains(text, "| "+g.what+" | "+g.goal+" | – |") {
			t.Errorf("no row for %s, %s", g.what, g.goal)
		}
	}
	for _, row := range r.Goals {
		if !strings.HasPrefix(row.Verdict, "not measured (") || strings.Contains(row.Verdict, "no scenario") {
			t.Errorf("%s: %q without a figure", row.What, row.Verdict)
		}
	}
}

func TestGoalsAreJudgedByTheirBounds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		goal       goal
		ours, peer float64
		want       string
	}{
		{"at least, met", goal{ours: "unary/a", peer: "unary/b", atLeast: 2}, 20, 10, "met"},
		{"at least, not met", goal{ours: "unary/a", peer: "unary/b", atLeast: 2}, 19, 10, "not met"},
		{"at most, met", goal{ours: "unary/a", peer: "unary/b", atMost: 0.18}, 1.8, 10, "met"},
		{"at most, not met", goal{ours: "unary/a", peer: "unary/b", atMost: 0.18}, 1.9, 10, "not met"},
		{"min", goal{ours: "unary/a", min: 94}, 93.9, 0, "not met"},
		{"max", goal{ours: "unary/a", max: 100}, 100, 0, "met"},
		{"none at all", goal{ours: "unary/a", max: noneAtAll}, 0, 0, "met"},
		{"one", goal{ours: "unary/a", max: noneAtAll}, 1, 0, "not met"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := &report.Report{Figures: map[string]report.Figure{"unary/a": report.NewFigure("", c.ours)}}
			if c.peer != 0 {
				r.Figures["unary/b"] = report.NewFigure("", c.peer)
			}
			if got := c.goal.evaluate(r).Verdict; got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestTheWorstRowIsJudged(t *testing.T) {
	t.Parallel()
	for _, j := range judged {
		if !slices.ContainsFunc(goals, func(g goal) bool { return g.ours == "overload/"+j.key && g.min+g.max > 0 }) {
			t.Errorf("no goal for %s", j.key)
		}
	}
	worst := make(worstFigures)
	for _, c := range []struct {
		key   string
		value float64
		met   bool
		worst float64
	}{
		{"overload/goodput", 0.95, true, 0.95},
		{"overload/goodput", 0.1, false, 0.1},
		{"overload/goodput", 2, true, 0.1},
		{"overload/memory", 100, true, 100},
		{"overload/memory", 300, false, 300},
		{"overload/memory", 0, true, 300},
	} {
		if met := worst.take(c.key, report.NewFigure("", c.value)); met != c.met || worst[c.key].Median != c.worst {
			t.Errorf("%s %g: met %t, the worst is %g", c.key, c.value, met, worst[c.key].Median)
		}
	}
}

func TestAMissingFigureSaysWhy(t *testing.T) {
	t.Parallel()
	r := &report.Report{Sections: []*report.Section{{Title: unaryScenario.title, Failed: "no Redis here"}}}
	row := goal{ours: "unary/x", peer: "unary/y", atLeast: 1}.evaluate(r)
	if row.Verdict != "not measured (unary: no Redis here)" {
		t.Error(row.Verdict)
	}
	r.Sections[0] = &report.Section{Title: unaryScenario.title, Absent: []report.Fact{{Name: "y", Value: "it is not built"}}}
	r.Figures = map[string]report.Figure{"unary/x": report.NewFigure("", 1)}
	row = goal{ours: "unary/x", peer: "unary/y/rate", atLeast: 1}.evaluate(r)
	if row.Verdict != "not measured (unary: it is not built)" {
		t.Error(row.Verdict)
	}
	row = goal{ours: "cache/x", min: 1}.evaluate(r)
	if row.Verdict != "not measured (-run leaves out cache)" {
		t.Error(row.Verdict)
	}
}

func TestRunRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-run", "unary,nothing"}, {"-fast"}, {"-quick", "-run", "wire", "-before", t.TempDir()}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

// TestAScenarioRunsEndToEnd starts a real server and asks it.
func TestAScenarioRunsEndToEnd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.md")
	var out, log bytes.Buffer
	if err := run(t.Context(), []string{"-quick", "-run", "start", "-o", file}, &out, &log); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	written, err := os.ReadFile(file)
	if err != nil || string(written) != out.String() || !strings.Contains(out.String(), "| start to first answer |") ||
		!strings.Contains(out.String(), "`make bench ARGS='-quick -run start -o ") {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestWrongAnswersFailTheRunAndStayInTheReport(t *testing.T) {
	t.Parallel()
	b := &bench{lab: new(lab.Lab), log: io.Discard, report: &report.Report{Figures: make(map[string]report.Figure)}}
	wrong := errors.New("another user was answered")
	section := &report.Section{Title: "one"}
	b.report.Sections = append(b.report.Sections, section)
	err := b.runScenario(t.Context(), scenario{name: "one", run: func(context.Context, *bench, *report.Section) error { return wrong }}, section)
	if !errors.Is(err, wrong) || section.Failed == "" {
		t.Errorf("%v, section says %q", err, section.Failed)
	}
	err = b.runScenario(t.Context(), scenario{name: "one", run: func(context.Context, *bench, *report.Section) error {
		return unavailable("no Redis")
	}}, section)
	if err != nil || section.Failed != "no Redis" {
		t.Errorf("%v, section says %q", err, section.Failed)
	}
}

func TestTallyMissesNobody(t *testing.T) {
	t.Parallel()
	users := population.New(1, 3)
	for _, c := range []struct {
		name   string
		listed []int
		right  bool
	}{
		{"all, in another order", []int{2, 0, 1}, true},
		{"one is missing", []int{0, 1}, false},
		{"one comes twice instead of another", []int{0, 1, 1}, false},
		{"one comes once more", []int{0, 1, 2, 2}, false},
	} {
		var listed tally
		for _, i := range c.listed {
			message, err := proto.Marshal(users.User(i))
			if err == nil {
				err = listed.take(message)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := listed.check(tallyOf(users)); (err == nil) != c.right {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestBenchmarkResultsAreRead(t *testing.T) {
	t.Parallel()
	found := benchmarkLines("goos: linux\nBenchmarkGet/chunk=10-2  1000  1234 ns/op  0 decodes/op  96 B/op  2 allocs/op\nBenchmarkPut-2 1 7 rows/s\nPASS\n")
	if len(found) != 2 || found[0].name != "Get/chunk=10" || found[1].name != "Put" {
		t.Fatal(found)
	}
	if m := found[0].metrics; m["ns/op"] != 1234 || m["allocs/op"] != 2 || len(m) != 4 {
		t.Error(m)
	}
}
