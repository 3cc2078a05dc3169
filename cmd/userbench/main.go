package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/example/userd/cmd/userbench/report"
)

// scenario measures one thing.
type scenario struct {
	name  string // For -run, and the first part of the keys of its figures.
	title string
	text  string // How it is measured.
	run   func(context.Context, *bench, *report.Section) error
	named bool // Takes minutes of its own, so it runs only when it is named, and with -quick.
}

// scenarios are all scenarios, in the order of the report. It is set in init because
// goals look up why a figure is missing.
var scenarios []scenario

func init() {
	scenarios = []scenario{
		startScenario, unaryScenario, shapesScenario, cacheScenario, wireScenario, streamsScenario,
		memoryScenario, peakScenario, storesScenario, propagationScenario, encodeScenario, overloadScenario, principalsScenario, searchScenario,
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "userbench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, log io.Writer) (err error) {
	flags := flag.NewFlagSet("userbench", flag.ContinueOnError)
	only := flags.String("run", "", "scenarios to run, separated by commas: "+names()+"; default all but overload, principals and search, which take minutes of their own")
	quick := flags.Bool("quick", false, "show in seconds that everything runs; the figures mean nothing")
	rows := flags.String("rows", "", "regular expression: the only rows of overload and principals to run, by engine and name, for example '^SQLite (write|bulk), open', and the engines of search")
	people := flags.Int("users", 0, "users in the stores of search; default 1,000,000")
	profile := flags.String("profile", "", "file to write a CPU profile of userd to, instead of measuring")
	file := flags.String("o", "", "file to write the report to; default cmd/userbench/RESULTS.md, for a run of everything")
	before := flags.String("before", "", "folder with another revision (git worktree add DIR REVISION): unary and wire run its userd, too,\nin turn with this one, in three times as many rounds, and have a table of the ratios, for example -run unary,wire -before DIR")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(*only, *quick)
	if err != nil {
		return err
	}
	p := fullPlan
	if *quick {
		p = quickPlan
	}
	debug.SetGCPercent(400) // The generator's own pauses would be taken for the server's.
	if *people > 0 {
		p.people = *people
	}
	if p.rows, err = regexp.Compile(*rows); err != nil {
		return fmt.Errorf("-rows: %w", err)
	}
	b, err := newBench(ctx, p, *before, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.lab.Close()) }()
	if *profile != "" {
		return b.profile(ctx, *profile)
	}
	b.report.Command = command(args)
	err = b.run(ctx, chosen)
	fmt.Fprint(out, b.report.Markdown())
	if *file == "" && len(args) == 0 {
		*file = filepath.Join(b.lab.Root(), "cmd", "userbench", "RESULTS.md")
	}
	if err != nil || *file == "" {
		return err
	}
	return os.WriteFile(*file, []byte(b.report.Markdown()), 0o644)
}

// command is how a person makes such a run.
func command(args []string) string {
	if len(args) == 0 {
		return "make bench"
	}
	return "make bench ARGS='" + strings.Join(args, " ") + "'"
}

func names() string {
	var all []string
	for _, s := range scenarios {
		all = append(all, s.name)
	}
	return strings.Join(all, ", ")
}

func choose(only string, quick bool) ([]scenario, error) {
	if only == "" {
		return slices.DeleteFunc(slices.Clone(scenarios), func(s scenario) bool { return s.named && !quick }), nil
	}
	byName := make(map[string]scenario)
	for _, s := range scenarios {
		byName[s.name] = s
	}
	var chosen []scenario
	for name := range strings.SplitSeq(only, ",") {
		s, ok := byName[name]
		if !ok {
			return nil, fmt.Errorf("-run: %q is none of %s", name, names())
		}
		chosen = append(chosen, s)
	}
	return chosen, nil
}
