package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/example/userd/cmd/userbench/lab"
	"github.com/example/userd/cmd/userbench/load"
	"github.com/example/userd/cmd/userbench/report"
	"github.com/example/userd/server/auth"
)

var principalsScenario = scenario{
	name:  "principals",
	title: "One caller at full load",
	text: "userd, on its own processor, knows two callers by their tokens. One keeps as many calls of a kind under way as the row says. The other offers what others offer in scenario overload. " +
		"Their rate and p99 are compared with those of slices in which the first caller is silent, in turn. Bold figures miss their goals.",
	run:   runPrincipals,
	named: true,
}

// greedy is what one caller does without end.
var greedy = []pressure{
	{name: "128 cached reads at a time", load: hotGets, shape: shape{connections: 8, streams: 16}},
	{name: "128 reads of the store", load: gets, shape: shape{connections: 8, streams: 16}},
	{name: "128 creates", load: creates, shape: shape{connections: 8, streams: 16}},
	{name: "32 searches", load: searches(4), shape: shape{connections: 8, streams: 4}},
	{name: "8 imports", load: imports(100), shape: shape{connections: 4, streams: 2}},
	{name: "16 watches from the earliest change", load: catchUps(5_000), shape: shape{connections: 4, streams: 4}},
}

func runPrincipals(ctx context.Context, b *bench, section *report.Section) error {
	file := b.lab.Path("principals")
	tokens, err := writePrincipals(file, "greedy", "modest")
	if err != nil {
		return err
	}
	worst := make(worstFigures)
	for _, e := range []struct {
		name  string
		start func(ctx context.Context, flags ...string) (*lab.Server, error)
	}{
		{"PostgreSQL", b.fleet.userdOnPostgres},
		{"SQLite", func(ctx context.Context, flags ...string) (*lab.Server, error) {
			return b.fleet.userdOnSQLite(ctx, b.lab.Root(), flags...)
		}},
	} {
		server, err := e.start(ctx, "--auth-file", file)
		if err != nil {
			return err
		}
		table, err := b.comparePrincipals(ctx, e.name, server, tokens, worst)
		server.Stop()
		if err != nil {
			return err
		}
		section.Tables = append(section.Tables, table)
	}
	for key, figure := range worst {
		b.report.Figures[key] = figure
	}
	return nil
}

// writePrincipals makes a file of callers who may do everything, and returns their tokens.
func writePrincipals(path string, names ...string) (tokens []string, err error) {
	var lines strings.Builder
	for _, name := range names {
		token := auth.NewToken()
		line, err := auth.Line(name, token, []auth.Scope{auth.UsersRead, auth.UsersList, auth.UsersWrite})
		if err != nil {
			return nil, err
		}
		lines.WriteString(line + "\n")
		tokens = append(tokens, token)
	}
	return tokens, os.WriteFile(path, []byte(lines.String()), 0o600)
}

// comparePrincipals is the table of an engine.
func (b *bench) comparePrincipals(ctx context.Context, name string, server *lab.Server, tokens []string, worst worstFigures) (report.Table, error) {
	table := report.Table{Columns: []string{name, "its calls"}}
	for _, o := range others {
		table.Columns = append(table.Columns, o.name+": rate", "p99", "p99 alone")
	}
	engine := &engine{bench: b, users: b.small}
	modest := &stage{engine: engine, server: server, token: tokens[1], others: make(map[string]loader)}
	defer modest.disconnect()
	for _, o := range others {
		var err error
		if modest.others[o.name], err = modest.dial(o.load, otherShape); err != nil {
			return table, err
		}
	}
	for _, p := range greedy {
		if !b.rows.MatchString(name + " " + p.name) {
			continue
		}
		row, err := modest.beside(ctx, p, &stage{engine: engine, server: server, token: tokens[0]})
		if err != nil {
			return table, err
		}
		table.Add(append([]string{p.name, report.Number(median(row.greedy, rateOf)) + " /s"}, row.cells(worst)...)...)
	}
	return table, nil
}

// besideGreedy has what was found of a caller who calls without end, and of the others with
// and without it, by name.
type besideGreedy struct {
	greedy      []*load.Result
	with, alone map[string][]*load.Result
}

// beside measures the others, in turn with and without a load of another stage.
func (st *stage) beside(ctx context.Context, p pressure, other *stage) (row besideGreedy, err error) {
	defer other.disconnect()
	greedy, err := other.dial(p.load, p.shape)
	if err != nil {
		return row, err
	}
	greedy.Closed(st.bench.surge / 4) // So that everything is warm.
	row.with, row.alone = make(map[string][]*load.Result), make(map[string][]*load.Result)
	for range st.bench.openRounds {
		_, alone, calm := st.together(st.bench.surge, func() (*load.Result, error) {
			time.Sleep(st.bench.surge)
			return new(load.Result), nil
		})
		found, with, full := st.together(st.bench.surge, func() (*load.Result, error) { return greedy.Closed(st.bench.surge), nil })
		if err := errors.Join(calm, full, ctx.Err()); err != nil {
			return row, err
		}
		row.greedy = append(row.greedy, found)
		for name := range with {
			row.with[name], row.alone[name] = append(row.with[name], with[name]), append(row.alone[name], alone[name])
		}
	}
	return row, nil
}

// cells are those of a row, and take the worst figures.
func (r besideGreedy) cells(worst worstFigures) (cells []string) {
	judge := func(key string, of func(*load.Result) float64, name string) {
		figure := report.NewFigure("", median(r.with[name], of)/median(r.alone[name], of))
		cell := figure.String()
		if !worst.take("principals/"+key, figure) {
			cell = "**" + cell + "**"
		}
		cells = append(cells, cell)
	}
	for _, o := range others {
		judge("rate", rateOf, o.name)
		judge("p99", p99Of, o.name)
		cells = append(cells, report.NewFigure("ms", median(r.alone[o.name], p99Of)).String())
	}
	return cells
}
