package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
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
		0: "0", 0.0012: "0.0012", 0.123: "0.12", 1.239: "1.24", 12.34: "12.3", 123.4: "123",
		1234: "1,230", 1_234_567: "1,230,000", -1234: "-1,230",
	} {
		if got := Number(value); got != want {
			t.Errorf("%g is %s, want %s", value, got, want)
		}
	}
}

func example() *Report {
	return &Report{
		Machine: []Fact{{"processor", "a | b"}},
		Goals:   []Goal{{What: "a", Verdict: "met"}, {What: "b", Verdict: "not measured (no peer)"}},
		Sections: []*Section{{
			Title: "one", Text: "how", Tables: []Table{{Columns: []string{"x"}, Rows: [][]string{{"1"}}}},
			Charts: []*Chart{
				{Name: "lines", Title: "<latency>", Unit: "ms", Lines: []Line{{"ours", []float64{1, 2, 3, 4, 50, 60, 700, 800}}}},
				{Name: "bars", Title: "rate", Bars: []Bar{{"ours", NewFigure("req/s", 1, 2)}}},
			},
		}},
		Figures: map[string]Figure{"a": NewFigure("ms", 1)},
	}
}

func TestMarkdownHasAllRows(t *testing.T) {
	t.Parallel()
	text := example().Markdown()
	for _, want := range []string{"| a |", "| b |", "not measured (no peer)", "## one", "| 1 |", "](lines.svg)", "](bars.svg)"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

func TestFilesAreWellFormed(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "results")
	if err := example().Write(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lines.svg", "bars.svg"} {
		file, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		decoder := xml.NewDecoder(file)
		for err == nil {
			_, err = decoder.Token()
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(data, &back); err != nil || len(back.Goals) != 2 {
		t.Errorf("%v: %s", err, data)
	}
}
