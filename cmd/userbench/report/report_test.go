package report

import (
	"math"
	"strings"
	"testing"
)

func TestFigureIsTheMedianAndTheQuartiles(t *testing.T) {
	t.Parallel()
	f := NewFigure("req/s", 5, 1, 4, 2, 3)
	if f.Median != 3 || f.Low != 2 || f.High != 4 || f.Samples != 5 {
		t.Errorf("%+v", f)
	}
	if got := NewFigure("req/s", 12_345, 12_345).WithSpread(); got != "12,300 req/s (12,300–12,300)" {
		t.Error(got)
	}
	if got := NewFigure("req/s", math.NaN()); got.Known() || got.String() != "–" {
		t.Errorf("%+v", got)
	}
}

func TestNumbersHaveThreeDigits(t *testing.T) {
	t.Parallel()
	for value, want := range map[float64]string{
		0: "0", 0.0012: "0.0012", 0.123: "0.123", 1.239: "1.24", 12.34: "12.3", 123.4: "123",
		1234: "1,230", 1_234_567: "1,230,000", -1234: "-1,230",
	} {
		if got := Number(value); got != want {
			t.Errorf("%g is %s, want %s", value, got, want)
		}
	}
}

func example() *Report {
	return &Report{
		Command: "userbench",
		Machine: []Fact{{"processor", "a | b"}},
		Goals:   []Goal{{What: "a", Verdict: "met"}, {What: "b", Verdict: "not measured (no peer)"}},
		Sections: []*Section{{
			Title: "one", Text: "how", Tables: []Table{{Columns: []string{"x"}, Rows: [][]string{{"1"}}}},
		}},
	}
}

func TestMarkdownHasAllRows(t *testing.T) {
	t.Parallel()
	text := example().Markdown()
	for _, want := range []string{"| a |", "| b |", "not measured (no peer)", "## one", "| 1 |", "`userbench`", "| b | "} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}
