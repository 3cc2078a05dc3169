package report

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Chart is a picture: lines of latency by percentile, or bars.
type Chart struct {
	Name  string // Of the file, without its ending.
	Title string
	Unit  string // Of the values.
	Lines []Line // Latency by percentile; no bars then.
	Bars  []Bar
}

// Line is one line of a chart of percentiles.
type Line struct {
	Name   string
	Values []float64 // At Percentiles.
}

// Bar is one bar.
type Bar struct {
	Name   string
	Figure Figure
}

// Percentiles are where the lines of a chart have their points.
var Percentiles = []float64{50, 75, 90, 95, 99, 99.5, 99.9, 99.95}

// Sizes of a chart, in pixels.
const (
	chartWidth = 760
	plotLeft   = 70
	plotRight  = 40
	plotTop    = 40
	plotHeight = 280
	barHeight  = 26
	barLeft    = 280
)

var colours = []string{"#1b6ca8", "#d1495b", "#2a9d5b", "#e09f3e", "#7b4fa3", "#4a4e57", "#17a2a2", "#a0522d"}

// File is the name of the chart's file.
func (c *Chart) File() string { return c.Name + ".svg" }

// SVG is the chart as a file.
func (c *Chart) SVG() string {
	var b strings.Builder
	height := plotTop + plotHeight + 50 + 18*len(c.Lines)
	if len(c.Lines) == 0 {
		height = plotTop + barHeight*len(c.Bars) + 20
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="12">`+"\n", chartWidth, height)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	text(&b, 10, 22, "start", "#000", c.Title)
	if len(c.Lines) > 0 {
		c.drawLines(&b)
	} else {
		c.drawBars(&b)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func text(b *strings.Builder, x, y float64, anchor, colour, words string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, colour, html.EscapeString(words))
}

// drawLines draws latencies on a logarithmic scale, over percentiles on one where
// 90, 99 and 99.9 % are equally far apart.
func (c *Chart) drawLines(b *strings.Builder) {
	low, high := c.bounds()
	y := func(value float64) float64 {
		return plotTop + plotHeight*(1-(math.Log10(max(value, low))-math.Log10(low))/(math.Log10(high)-math.Log10(low)))
	}
	x := func(percentile float64) float64 {
		nines := func(p float64) float64 { return -math.Log10(1 - p/100) }
		first, last := nines(Percentiles[0]), nines(Percentiles[len(Percentiles)-1])
		return plotLeft + (chartWidth-plotLeft-plotRight)*(nines(percentile)-first)/(last-first)
	}
	for tick := low; tick <= high*1.001; tick *= 10 {
		fmt.Fprintf(b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/>`+"\n", plotLeft, y(tick), chartWidth-plotRight, y(tick))
		text(b, plotLeft-6, y(tick)+4, "end", "#555", Number(tick)+unit(c.Unit))
	}
	for _, percentile := range Percentiles {
		text(b, x(percentile), plotTop+plotHeight+18, "middle", "#555", fmt.Sprintf("p%g", percentile))
	}
	for i, line := range c.Lines {
		colour := colours[i%len(colours)]
		var points []string
		for j, value := range line.Values {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(Percentiles[j]), y(value)))
		}
		fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), colour)
		text(b, plotLeft, float64(plotTop+plotHeight+44+18*i), "start", colour, "— "+line.Name)
	}
}

// bounds are the powers of ten around all values.
func (c *Chart) bounds() (low, high float64) {
	low, high = math.Inf(1), 0
	for _, line := range c.Lines {
		for _, value := range line.Values {
			low, high = min(low, max(value, 1e-3)), max(high, value, 1e-2)
		}
	}
	low = math.Pow(10, math.Floor(math.Log10(low)))
	return low, max(math.Pow(10, math.Ceil(math.Log10(high))), 10*low)
}

// drawBars draws medians, and the quartiles as a line across the end of the bar.
func (c *Chart) drawBars(b *strings.Builder) {
	longest := 0.0
	for _, bar := range c.Bars {
		longest = max(longest, bar.Figure.High)
	}
	scale := float64(chartWidth-barLeft-120) / max(longest, 1e-9)
	for i, bar := range c.Bars {
		y := float64(plotTop + barHeight*i)
		colour := colours[i%len(colours)]
		text(b, barLeft-8, y+15, "end", "#000", bar.Name)
		fmt.Fprintf(b, `<rect x="%d" y="%.1f" width="%.1f" height="18" fill="%s"/>`+"\n", barLeft, y+2, bar.Figure.Median*scale, colour)
		fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%[2]f" stroke="#000"/>`+"\n", barLeft+bar.Figure.Low*scale, y+11, barLeft+bar.Figure.High*scale)
		text(b, barLeft+bar.Figure.High*scale+6, y+15, "start", "#555", bar.Figure.String())
	}
}
