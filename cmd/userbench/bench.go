package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"time"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/population"
	"github.com/example/userd/cmd/userbench/report"
)

// importedKind is the first kind of users that imports bring: each round takes kinds of
// its own.
const importedKind = 1000

// plan says how long everything takes.
type plan struct {
	connections  int
	streams      int // On each connection.
	users        int // In the store.
	hot          int // Users that fit into every cache.
	slice        time.Duration
	rounds       int
	openSlice    time.Duration
	openRounds   int
	equalRounds  int // Of equal loads with the cache and without.
	warm         time.Duration
	streamRounds int
	streamed     int // Messages on a stream to the server.
	stored       int // The same where a database keeps them.
	imported     int // Rows of an import beside a database's own tool.
	watchers     int
	watched      int // Updates that they see.
	slow         int // Slow readers.
	starts       int
	settled      time.Duration // After which the memory of a server is looked at: it gives back what it does not need.
	storeSlice   time.Duration // Against pgbench, which measures whole seconds.
	propagated   int
	peakRows     int // Of one import.
	peakImports  int
	storeRuns    int            // Of the benchmarks of package postgres; 0 for none.
	crowd        int            // Users in the store of an overloaded server.
	surge        time.Duration  // How long it is overloaded.
	forms        int            // Of the overload of each class.
	rows         *regexp.Regexp // Of overload and principals, by engine and name.
	people       int            // In the stores that are searched.
	searchTime   time.Duration  // For each search.
	profiled     time.Duration
}

var (
	fullPlan = plan{
		connections: 8, streams: 16, users: 100_000, hot: 5_000,
		slice: 250 * time.Millisecond, rounds: 9, openSlice: 600 * time.Millisecond, openRounds: 4, equalRounds: 10, warm: 200 * time.Millisecond,
		streamRounds: 4, streamed: 100_000, stored: 10_000, imported: maxImport, watchers: 1_000, watched: 100, slow: 100,
		starts: 3, settled: 6 * time.Second, storeSlice: 2 * time.Second, propagated: 1_000,
		peakRows: 100_000, peakImports: 10, storeRuns: 2, crowd: 500_000, surge: 2 * time.Second, forms: len(forms), people: 1_000_000, searchTime: time.Second, profiled: 30 * time.Second,
	}
	quickPlan = plan{
		connections: 2, streams: 4, users: 2_000, hot: 500,
		slice: 20 * time.Millisecond, rounds: 2, openSlice: 50 * time.Millisecond, openRounds: 2, equalRounds: 2, warm: 20 * time.Millisecond,
		streamRounds: 1, streamed: 2_000, stored: 2_000, imported: 2_000, watchers: 100, watched: 3, slow: 10,
		starts: 1, settled: 50 * time.Millisecond, storeSlice: time.Second, propagated: 20,
		peakRows: 2_000, peakImports: 2, crowd: 2_000, surge: 200 * time.Millisecond, forms: 1, people: 2_000, searchTime: 20 * time.Millisecond, profiled: 4 * time.Second,
	}
)

// bench is one run of the benchmark.
type bench struct {
	plan
	lab    *lab.Lab
	report *report.Report
	log    io.Writer
	fleet  fleet
	small  *population.Users
	before string // Folder of another revision, to compare with; "" for none.

	prepared map[preparedKey]rows // Of the present round.
	kinds    uint64               // Of users that an overloaded server was to create.

	busyBefore, revision string // When the run began.
}

// unavailable is why something cannot be measured here, through no fault of what
// is measured.
type unavailable string

func (u unavailable) Error() string { return string(u) }

func newBench(ctx context.Context, p plan, before string, log io.Writer) (*bench, error) {
	if before != "" {
		p.rounds, p.openRounds = 3*p.rounds, 3*p.openRounds
		var err error
		if before, err = filepath.Abs(before); err != nil {
			return nil, err
		}
	}
	l, err := lab.New(ctx)
	if err != nil {
		return nil, err
	}
	b := &bench{
		plan: p, lab: l, log: log, fleet: fleet{lab: l, programs: make(map[string]string), seeded: make(map[string]string)},
		report: &report.Report{Began: time.Now(), Figures: make(map[string]report.Figure)},
		small:  population.New(0, p.users),
		before: before,

		prepared: make(map[preparedKey]rows),

		busyBefore: loadAverage(), revision: revision(l.Root()),
	}
	b.fleet.users = b.small
	return b, nil
}

// run runs scenarios. The error says which of them found something wrong; the
// report is complete all the same.
func (b *bench) run(ctx context.Context, scenarios []scenario) error {
	var errs []error
	for _, s := range scenarios {
		section := &report.Section{Title: s.title, Text: s.text}
		b.report.Sections = append(b.report.Sections, section)
		began := time.Now()
		fmt.Fprintf(b.log, "%s …\n", s.name)
		if err := b.runScenario(ctx, s, section); err != nil {
			errs = append(errs, err)
		}
		fmt.Fprintf(b.log, "%s: %s %s\n", s.name, time.Since(began).Round(time.Second/10), section.Failed)
	}
	b.report.Machine = b.machine()
	b.report.Goals = evaluate(b.report)
	b.report.Took = time.Since(b.report.Began)
	return errors.Join(errs...)
}

// runScenario returns what is wrong with what was measured. That something cannot be
// measured here is only noted.
func (b *bench) runScenario(ctx context.Context, s scenario, section *report.Section) error {
	defer b.fleet.stop()
	err := b.lab.Cores.PinLoad()
	if err == nil {
		err = s.run(ctx, b, section)
	}
	if err == nil {
		return nil
	}
	section.Failed = err.Error()
	if why := unavailable(""); errors.As(err, &why) {
		return nil
	}
	return fmt.Errorf("%s: %w", s.name, err)
}

// record keeps a figure for the goals.
func (b *bench) record(key, unit string, samples ...float64) report.Figure {
	f := report.NewFigure(unit, samples...)
	b.report.Figures[key] = f
	return f
}
