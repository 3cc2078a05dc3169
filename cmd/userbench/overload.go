package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/population"
	"github.com/example/userd/cmd/userbench/report"
)

var overloadScenario = scenario{
	name:  "overload",
	title: "More than it can do",
	text: "userd as it is shipped, on its own processor, gets three times what it carries: for each class of calls what a closed loop of so many callers finds is offered threefold by an open loop, which makes no call beyond 10,000 under way, and by three times the callers, " +
		"who come again when a refusal says, with deadlines of 500 ms and without. Other rows are loads that once stopped everybody else. Each class has a server of its own, so have the other rows together. " +
		"Goodput is what is answered in time, from half a second after the beginning. Uncontended is a tenth of the peak, or 20 calls a second where that is more. " +
		"At the same time others offer a light open load: 1,000 reads a second of hot users, 300 creates and 300 reads of the store (--no-cache), but none of the row's class. " +
		"Recovery is when a closed loop reaches 0.8 of what it did before, memory the peak above that of the server before its first call, \"failed, but stored\" the share of the stored rows that were not answered as created. " +
		"\"Load busy\" is the part of a processor that the load takes during the overload, and while the peak is found. With two processors PostgreSQL has what the load leaves of the second one: where that bounds the peak, its goodput can be no more than the part that is left then by the part that is left at the peak. " +
		"Bold figures miss their goals.",
	run:   runOverload,
	named: true,
}

// Kinds of the users of this scenario: those in the store, and the first of those that
// its rows create.
const (
	crowdKind   = 2
	createdKind = 1_000_000
)

// overloadDeadline is what callers have who do not wait as long as it takes.
const overloadDeadline = 500 * time.Millisecond

// recovered is the part of the peak that says that a server is as it was.
const recovered = 0.8

// recoveryWait is how long that may take, and how long callers without a deadline wait
// for their answers.
func (b *bench) recoveryWait() time.Duration { return 2 * b.surge }

func runOverload(ctx context.Context, b *bench, section *report.Section) error {
	users := population.New(crowdKind, b.crowd)
	name, err := b.fleet.emptyPostgres(ctx)
	if err != nil {
		return err
	}
	worst := make(worstFigures)
	for _, e := range []*engine{
		{bench: b, users: users, name: "PostgreSQL", database: b.fleet.postgres.URL(name, "")},
		{bench: b, users: users, name: "SQLite", database: b.fleet.emptySQLite()},
	} {
		if err := e.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		section.Tables = append(section.Tables, e.table(worst))
	}
	for key, figure := range worst {
		b.report.Figures[key] = figure
	}
	return nil
}

// engine is a database with many users, and what the rows have found on it.
type engine struct {
	bench    *bench
	name     string
	database string
	users    *population.Users
	outcomes []*outcome
	peaks    map[string][]float64      // Of classes, in the rows before.
	calm     map[string][]*load.Result // Of classes and others, uncontended.
}

func (e *engine) run(ctx context.Context) error {
	groups := e.groups()
	if len(groups) == 0 {
		return nil
	}
	if err := e.seed(ctx); err != nil {
		return err
	}
	e.peaks, e.calm = make(map[string][]float64), make(map[string][]*load.Result)
	for _, g := range groups {
		if err := e.runGroup(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// groups are the rows that are to be run.
func (e *engine) groups() (chosen []group) {
	for _, g := range e.bench.groups() {
		g.rows = slices.DeleteFunc(slices.Clone(g.rows), func(p pressure) bool {
			return !e.bench.rows.MatchString(e.name + " " + p.name)
		})
		if len(g.rows) > 0 {
			chosen = append(chosen, g)
		}
	}
	return chosen
}

// seed imports the users with all processors.
func (e *engine) seed(ctx context.Context) error {
	cores := e.bench.lab.Cores
	if err := cores.UnpinLoad(); err != nil {
		return err
	}
	err := e.bench.fleet.seed(ctx, e.bench.lab.Root(), e.database, e.users)
	return errors.Join(err, cores.PinLoad())
}

// stage is a server and those who call it.
type stage struct {
	*engine
	group
	server *lab.Server
	token  string            // Of those who call, or "".
	idle   int64             // Its memory before it was called.
	others map[string]loader // Of the present row, as are the following.
	probe  loader
	ledger *ledger // Of the last load of creates.
	opened []loader
}

// loader makes calls: load.Generator or load.Streams.
type loader interface {
	Closed(time.Duration) *load.Result
	Open(rate float64, duration time.Duration) (*load.Result, error)
	Close()
}

// runGroup measures the rows of a group on one server.
func (e *engine) runGroup(ctx context.Context, g group) error {
	st := &stage{engine: e, group: g}
	defer st.close()
	if err := st.start(ctx); err != nil {
		return fmt.Errorf("%s: %w", g.rows[0].name, err)
	}
	for _, p := range g.rows {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := st.runRow(p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// start starts the server and lets it be called until everything is warm.
func (st *stage) start(ctx context.Context) (err error) {
	if st.server, err = st.bench.fleet.userd(ctx, true, st.database); err != nil {
		return err
	}
	if st.idle, _, err = st.server.Memory(); err != nil {
		return err
	}
	defer st.disconnect()
	if err := st.connect(); err != nil {
		return err
	}
	return st.warm()
}

// warm finds peaks until two in a row are not much above the best. A new process of
// PostgreSQL has none of the shared memory at hand, and is several times slower until it has.
func (st *stage) warm() error {
	const steady = 1.1
	best := 0.0
	for after := 0; after < 2; after++ {
		found, err := st.findPeak(st.bench.surge)
		if err == nil && found.Failed > 0 {
			err = fmt.Errorf("%d calls have failed before any overload: %w", found.Failed, found.Failure)
		}
		if err != nil {
			return err
		}
		if found.Rate > steady*best {
			best, after = found.Rate, -1
		}
	}
	return nil
}

// runRow measures one row: the peak, calm, the overload, and how it ends.
func (st *stage) runRow(p pressure) error {
	o := &outcome{pressure: p, class: st.class, lost: math.NaN()}
	defer st.disconnect()
	if err := st.connect(); err != nil {
		return err
	}
	before, began := lab.LoadCPU(), time.Now()
	found, err := st.findPeak(st.bench.surge / 4)
	if err != nil {
		return err
	}
	o.peak, o.atPeak = max(found.Rate, 1), busy(before, began)
	st.peaks[st.class] = append(st.peaks[st.class], o.peak)
	if err := st.measureCalm(o.peak); err != nil {
		return err
	}
	over, err := st.dial(p.load, p.shape)
	if err != nil {
		return err
	}
	if err := st.overload(o, over); err != nil {
		return err
	}
	if st.class == "write" {
		o.lost, err = st.ledger.lost(st.server.Address)
	}
	st.outcomes = append(st.outcomes, o)
	return err
}

// connect connects the others and the probe.
func (st *stage) connect() (err error) {
	st.others = make(map[string]loader)
	for _, o := range others {
		if o.class != "" && o.class == st.class {
			continue
		}
		if st.others[o.name], err = st.dial(o.load, otherShape); err != nil {
			return err
		}
	}
	st.probe, err = st.dial(st.load, st.callers)
	return err
}

// dial connects a load.
func (st *stage) dial(d dialer, s shape) (loader, error) {
	l, err := d(st, s)
	if err == nil {
		st.opened = append(st.opened, l)
	}
	return l, err
}

// disconnect ends what has been dialed.
func (st *stage) disconnect() {
	for _, l := range st.opened {
		l.Close()
	}
	st.opened = nil
}

// close ends the server.
func (st *stage) close() {
	if st.server != nil {
		st.server.Stop()
	}
}

// findPeak is what the probe gets in a closed loop.
func (st *stage) findPeak(duration time.Duration) (*load.Result, error) {
	found, _, err := st.together(duration, func() (*load.Result, error) { return st.probe.Closed(duration), nil })
	return found, err
}

// measureCalm lets the probe and the others have little to do.
func (st *stage) measureCalm(peak float64) error {
	rate, duration := max(peak/10, min(peak/3, 20)), st.bench.surge/4
	class, found, err := st.together(duration, func() (*load.Result, error) { return st.probe.Open(rate, duration) })
	if err != nil {
		return err
	}
	found[st.class] = class
	for name, result := range found {
		st.calm[name] = append(st.calm[name], result)
	}
	return nil
}

// together runs a load and, at the same time, the others.
func (st *stage) together(duration time.Duration, run func() (*load.Result, error)) (*load.Result, map[string]*load.Result, error) {
	var mu sync.Mutex
	var errs []error
	results := make(map[string]*load.Result)
	var ended sync.WaitGroup
	for _, o := range others {
		if l := st.others[o.name]; l != nil {
			ended.Go(func() {
				found, err := l.Open(o.rate, duration)
				mu.Lock()
				defer mu.Unlock()
				results[o.name], errs = found, append(errs, wrong(o.name, found, err))
			})
		}
	}
	found, err := run()
	ended.Wait()
	return found, results, errors.Join(append(errs, wrong("the row's calls", found, err))...)
}

// wrong is an error where an answer was a wrong one. A call that has failed otherwise has
// only not been answered.
func wrong(name string, r *load.Result, err error) error {
	if err != nil || r.Failure == nil || errors.Is(r.Failure, load.ErrNoAnswer) {
		return err
	}
	if status := new(load.StatusError); errors.As(r.Failure, &status) {
		return nil
	}
	return fmt.Errorf("%s: %d calls without a right answer: %w", name, r.Failed, r.Failure)
}

// overload loads the server and looks at it until it has recovered.
func (st *stage) overload(o *outcome, over loader) error {
	if err := st.server.ResetPeak(); err != nil {
		return err
	}
	before, began := lab.LoadCPU(), time.Now()
	ended := make(chan error, 1)
	go func() {
		var err error
		o.over, o.others, err = st.together(st.bench.surge, func() (*load.Result, error) {
			if o.open {
				return over.Open(excess*slices.Max(st.peaks[st.class]), st.bench.surge)
			}
			return over.Closed(st.bench.surge), nil
		})
		ended <- err
	}()
	time.Sleep(st.bench.surge)
	enough := time.AfterFunc(st.bench.recoveryWait(), over.Close)
	defer enough.Stop()
	o.generator = busy(before, began)
	if o.leave {
		over.Close()
	}
	o.recovery = st.awaitRecovery(o.peak)
	err := <-ended
	_, peak, memoryErr := st.server.Memory()
	o.memory = float64(peak-st.idle) / (1 << 20)
	return errors.Join(err, memoryErr)
}

// busy is how much of a processor this process has used since a time, per cent.
func busy(before int64, began time.Time) float64 {
	return 100 * float64(lab.LoadCPU()-before) / float64(time.Since(began))
}

// awaitRecovery returns the time until the probe finds what it found before the overload, in
// seconds.
func (st *stage) awaitRecovery(peak float64) float64 {
	began := time.Now()
	for {
		passed := time.Since(began)
		if found := st.probe.Closed(st.bench.surge / 8); found.Rate >= recovered*peak || passed > st.bench.recoveryWait() {
			return passed.Seconds()
		}
	}
}
