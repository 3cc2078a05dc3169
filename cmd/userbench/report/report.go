// Package report writes what a benchmark has found as Markdown. It has no figures of
// its own.
package report

import (
	"fmt"
	"strings"
	"time"
)

// Report is what a benchmark has found.
type Report struct {
	Command  string // What was called.
	Machine  []Fact
	Began    time.Time
	Took     time.Duration
	Goals    []Goal
	Sections []*Section
	Figures  map[string]Figure
}

// Fact is one line about the machine or the run.
type Fact struct{ Name, Value string }

// Goal is a row of the table of goals. Verdict is "met", "not met" or "not measured
// (why)".
type Goal struct{ What, Goal, Ours, Peer, Ratio, Verdict string }

// Section is what one scenario has found.
type Section struct {
	Title  string
	Text   string // How it was measured.
	Tables []Table
	Absent []Fact // Who did not take part, and why.
	Failed string // Why there is no more.
}

// Table is a table with a row of names above it.
type Table struct {
	Columns []string
	Rows    [][]string
}

// Add adds a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// Markdown is the report as one page.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmark of userd\n\nWritten by `%s`; [doc.go](doc.go) tells how it measures.\n\n", r.Command)
	for _, fact := range r.Machine {
		fmt.Fprintf(&b, "- %s: %s\n", fact.Name, fact.Value)
	}
	fmt.Fprintf(&b, "- run: %s, %s\n\n", r.Began.UTC().Format("2006-01-02 15:04 MST"), r.Took.Round(time.Second))
	b.WriteString("Medians, with the quartiles in brackets. Ratios are of one run; absolute figures are this machine's.\n\n## Goals\n\n")
	writeTable(&b, goalTable(r.Goals))
	for _, section := range r.Sections {
		section.write(&b)
	}
	return b.String()
}

func goalTable(goals []Goal) Table {
	table := Table{Columns: []string{"what", "goal", "ours", "peer", "ratio", ""}}
	for _, goal := range goals {
		table.Add(goal.What, goal.Goal, goal.Ours, goal.Peer, goal.Ratio, goal.Verdict)
	}
	return table
}

func (s *Section) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n", s.Title, s.Text)
	for _, table := range s.Tables {
		b.WriteString("\n")
		writeTable(b, table)
	}
	for _, absent := range s.Absent {
		fmt.Fprintf(b, "\nWithout %s: %s\n", absent.Name, absent.Value)
	}
	if s.Failed != "" {
		fmt.Fprintf(b, "\nNot measured: %s\n", s.Failed)
	}
}

func writeTable(b *strings.Builder, table Table) {
	writeRow(b, table.Columns)
	b.WriteString("|" + strings.Repeat(" --- |", len(table.Columns)) + "\n")
	for _, row := range table.Rows {
		writeRow(b, row)
	}
}

func writeRow(b *strings.Builder, cells []string) {
	b.WriteString("|")
	for _, cell := range cells {
		cell = strings.NewReplacer("|", `\|`, "\n", " ").Replace(cell)
		b.WriteString(" " + cell + " |")
	}
	b.WriteString("\n")
}
