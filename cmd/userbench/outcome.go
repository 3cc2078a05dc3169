package main

import (
	"math"
	"slices"

	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/report"
)

// outcome is what a row has found.
type outcome struct {
	pressure
	class     string
	peak      float64 // Answers a second.
	over      *load.Result
	others    map[string]*load.Result
	memory    float64 // MiB above idle.
	recovery  float64 // Seconds.
	lost      float64 // Share of the stored users that were not answered as created, per cent.
	generator float64 // How busy this process was, per cent.
	atPeak    float64 // The same while the peak was found.
}

// judged are the figures of a row that have goals, in the order of the table.
var judged = []struct {
	key, title, unit string
	of               func(e *engine, o *outcome) float64
}{
	{"goodput", "goodput / peak", "", func(e *engine, o *outcome) float64 {
		if o.class == "" {
			return math.NaN()
		}
		return o.over.Rate / report.NewFigure("/s", e.peaks[o.class]...).Median
	}},
	{"p99", "p99 / uncontended", "", func(e *engine, o *outcome) float64 {
		if o.class == "" {
			return math.NaN()
		}
		return p99Of(o.over) / median(e.calm[o.class], p99Of)
	}},
	{"others", "others' rate", "", func(e *engine, o *outcome) float64 { return slices.Min(e.compare(o, rateOf, "create", "get")) }},
	{"others p99", "others' p99", "", func(e *engine, o *outcome) float64 { return slices.Max(e.compare(o, p99Of, "create", "get")) }},
	{"hot", "hot reads' rate", "", func(e *engine, o *outcome) float64 { return e.compare(o, rateOf, "hot")[0] }},
	{"memory", "memory", "MiB", func(_ *engine, o *outcome) float64 { return o.memory }},
	{"recovery", "recovery", "s", func(_ *engine, o *outcome) float64 { return o.recovery }},
	{"stored", "failed, but stored", "%", func(_ *engine, o *outcome) float64 { return o.lost }},
}

func rateOf(r *load.Result) float64 { return r.Rate }

// p99Of is in milliseconds, or not a number without answers.
func p99Of(r *load.Result) float64 {
	if r.Latency.TotalCount() == 0 {
		return math.NaN()
	}
	return percentile(r.Latency, 99)
}

func median(results []*load.Result, of func(*load.Result) float64) float64 {
	var values []float64
	for _, r := range results {
		values = append(values, of(r))
	}
	return report.NewFigure("", values...).Median
}

// compare compares others, those that a row has, with how they are uncontended.
func (e *engine) compare(o *outcome, of func(*load.Result) float64, names ...string) (ratios []float64) {
	for _, name := range names {
		if found := o.others[name]; found != nil {
			ratios = append(ratios, of(found)/median(e.calm[name], of))
		}
	}
	return ratios
}

// table has the rows of an engine, and takes the worst figures of them.
func (e *engine) table(worst worstFigures) report.Table {
	table := report.Table{Columns: []string{e.name, "peak"}}
	for _, j := range judged {
		table.Columns = append(table.Columns, j.title)
	}
	table.Columns = append(table.Columns, "p99", "refused", "expired", "failed", "not made", "load busy", "at the peak")
	for _, o := range e.outcomes {
		cells := []string{o.name, report.Number(o.peak) + " /s"}
		for _, j := range judged {
			figure, met := report.NewFigure(j.unit, j.of(e, o)), true
			if figure.Known() {
				met = worst.take("overload/"+j.key, figure)
			}
			if cells = append(cells, figure.String()); !met {
				cells[len(cells)-1] = "**" + figure.String() + "**"
			}
		}
		cells = append(cells, report.NewFigure("ms", p99Of(o.over)).String())
		for _, n := range []int64{o.over.Refused, o.over.Expired, o.over.Failed, o.over.Unsent} {
			cells = append(cells, report.Number(float64(n)))
		}
		table.Add(append(cells, report.NewFigure("%", o.generator).String(), report.NewFigure("%", o.atPeak).String())...)
	}
	return table
}

// worstFigures are the worst of all rows, by key.
type worstFigures map[string]report.Figure

// take takes the figure of a row and reports whether it meets the goal of its key.
func (w worstFigures) take(key string, figure report.Figure) (met bool) {
	before, ok := w[key]
	for _, g := range goals {
		if g.ours != key {
			continue
		}
		if !ok || g.min > 0 && figure.Median < before.Median || g.max > 0 && figure.Median > before.Median {
			w[key] = figure
		}
		return g.met(figure.Median, 0)
	}
	return true
}
