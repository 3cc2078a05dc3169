package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Figure is a measured value: the median of its samples, and the quartiles.
type Figure struct {
	Median  float64 `json:"median"`
	Low     float64 `json:"p25"`
	High    float64 `json:"p75"`
	Samples int     `json:"samples"`
	Unit    string  `json:"unit"`
}

// NewFigure makes a figure of samples. Those that are not a number do not count.
func NewFigure(unit string, samples ...float64) Figure {
	sorted := slices.DeleteFunc(slices.Sorted(slices.Values(samples)), math.IsNaN)
	if len(sorted) == 0 {
		return Figure{Unit: unit}
	}
	return Figure{
		Median: quantile(sorted, 0.5), Low: quantile(sorted, 0.25), High: quantile(sorted, 0.75),
		Samples: len(sorted), Unit: unit,
	}
}

// quantile interpolates between the samples around q.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	below := int(at)
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (at-float64(below))*(sorted[above]-sorted[below])
}

// Known reports whether there is a value.
func (f Figure) Known() bool { return f.Samples > 0 }

// String is the median with its unit.
func (f Figure) String() string {
	if !f.Known() {
		return "–"
	}
	return Number(f.Median) + unit(f.Unit)
}

// WithSpread is the median with its unit and the quartiles.
func (f Figure) WithSpread() string {
	if f.Samples < 2 || !f.Known() {
		return f.String()
	}
	return fmt.Sprintf("%s (%s–%s)", f, Number(f.Low), Number(f.High))
}

func unit(name string) string {
	if name == "" || name == "%" {
		return name
	}
	return " " + name
}

// Number prints three significant digits, and groups thousands.
func Number(value float64) string {
	magnitude := math.Abs(value)
	switch {
	case magnitude >= 100:
		return grouped(int64(math.Round(roundTo(value, 3))))
	case magnitude >= 10:
		return strconv.FormatFloat(value, 'f', 1, 64)
	case magnitude == 0:
		return "0"
	case magnitude >= 0.01:
		return strconv.FormatFloat(value, 'f', 2, 64)
	}
	return strconv.FormatFloat(value, 'g', 2, 64)
}

// roundTo rounds to significant digits.
func roundTo(value float64, digits int) float64 {
	scale := math.Pow(10, math.Floor(math.Log10(math.Abs(value)))-float64(digits-1))
	return math.Round(value/scale) * scale
}

func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for at := len(text) - 3; at > 0 && text[at-1] != '-'; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
