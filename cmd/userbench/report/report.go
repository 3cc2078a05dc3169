// Package report writes what a benchmark has found: Markdown for people, JSON for
// programs, SVG charts for both. It has no figures of its own.
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Report is what a benchmark has found.
type Report struct {
	Machine  []Fact            `json:"machine"`
	Began    time.Time         `json:"began"`
	Took     time.Duration     `json:"took_ns"`
	Goals    []Goal            `json:"goals"`
	Sections []*Section        `json:"sections"`
	Figures  map[string]Figure `json:"figures"`
}

// Fact is one line about the machine or the run.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Goal is a row of the table of goals.
type Goal struct {
	What    string `json:"what"`
	Goal    string `json:"goal"`
	Ours    string `json:"ours"`
	Peer    string `json:"peer"`
	Ratio   string `json:"ratio"`
	Verdict string `json:"verdict"` // "met", "not met" or "not measured (why)".
}

// Section is what one scenario has found.
type Section struct {
	Title  string   `json:"title"`
	Text   string   `json:"text"` // How it was measured.
	Tables []Table  `json:"tables"`
	Charts []*Chart `json:"-"`
	Absent []Fact   `json:"absent,omitempty"` // Who did not take part, and why.
	Failed string   `json:"failed,omitempty"` // Why there is no more.
}

// Table is a table with a row of names above it.
type Table struct {
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
}

// Add adds a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// Write writes README.md, report.json and the charts into a folder, which it makes.
func (r *Report) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, section := range r.Sections {
		for _, chart := range section.Charts {
			if err := os.WriteFile(filepath.Join(dir, chart.File()), []byte(chart.SVG()), 0o644); err != nil {
				return err
			}
		}
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "report.json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "report.md"), []byte(r.Markdown()), 0o644)
}

// Markdown is the report as one page.
func (r *Report) Markdown() string {
	var b strings.Builder
	b.WriteString("# Benchmark of userd\n\n")
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
	for _, chart := range s.Charts {
		fmt.Fprintf(b, "\n![%s](%s)\n", chart.Title, chart.File())
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
