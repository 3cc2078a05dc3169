package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Figure is a measured value: the median of its samples, and the quartiles.
type Figure struct {
	Median  float64
	Low     float64
	High    float64
	Samples int
	Unit    string
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
	return strings.TrimSpace(Number(f.Median) + " " + f.Unit)
}

// WithSpread is the median with its unit and the quartiles.
func (f Figure) WithSpread() string {
	if f.Samples < 2 || !f.Known() {
		return f.String()
	}
	return fmt.Sprintf("%s (%s–%s)", f, Number(f.Low), Number(f.High))
}

// Number prints three significant digits, and groups thousands.
func Number(value float64) string {
	switch {
	case math.IsNaN(value) || math.IsInf(value, 0):
		return "–"
	case value == 0:
		return "0"
	}
	decimals := 2 - int(math.Floor(math.Log10(math.Abs(value))))
	if scale := math.Pow10(-decimals); decimals < 0 {
		value = math.Round(value/scale) * scale
	}
	text := strconv.FormatFloat(value, 'f', min(max(decimals, 0), 4), 64)
	for at := len(text) - 3; decimals < 0 && at > 0 && text[at-1] != '-'; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
