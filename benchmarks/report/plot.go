package main

import (
	"fmt"
	"slices"
	"strings"
)

// The plot's measures, in pixels.
const (
	panelWidth  = 250
	plotHeight  = 300
	barsTop     = 70
	barsBottom  = 250
	barWidth    = 48
	barDistance = 68
)

// plot draws the CPU per request: a panel for each body, each with a scale of
// its own that begins at zero. What did not hit has no bar, only a note: its
// figure is that of another kind of work.
func plot(cells []Cell) string {
	var bodies []string
	for _, c := range cells {
		if !slices.Contains(bodies, c.Body) {
			bodies = append(bodies, c.Body)
		}
	}
	var b strings.Builder
	width := panelWidth*len(bodies) + 20
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n",
		width, plotHeight, width, plotHeight)
	b.WriteString(`<rect width="100%" height="100%" fill="#ffffff"/>` + "\n")
	text(&b, width/2, 24, 15, "Server CPU per cache hit, in microseconds (less is better)")
	for i, body := range bodies {
		panel(&b, 10+i*panelWidth, body, cells)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func panel(b *strings.Builder, left int, body string, cells []Cell) {
	var shown []Cell
	highest := 0.0
	for _, c := range cells {
		if c.Body != body {
			continue
		}
		shown = append(shown, c)
		if !c.Misses() {
			highest = max(highest, c.CPU)
		}
	}
	text(b, left+panelWidth/2, 50, 13, "POST, body of "+body)
	fmt.Fprintf(b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#888888"/>`+"\n", left+15, barsBottom, left+panelWidth-15, barsBottom)
	for i, c := range shown {
		x := left + 25 + i*barDistance
		middle := x + barWidth/2
		text(b, middle, barsBottom+18, 11, strings.Fields(displayName(c.Server))[0])
		if c.Misses() || highest == 0 {
			text(b, middle, barsBottom-8, 11, "no hits")
			continue
		}
		height := int(c.CPU / highest * (barsBottom - barsTop - 20))
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", x, barsBottom-height, barWidth, height, color(c.Server))
		text(b, middle, barsBottom-height-6, 12, fmt.Sprintf("%.1f", c.CPU))
		text(b, middle, barsBottom+34, 11, fmt.Sprintf("%.2fx", c.CPURatio))
	}
}

func text(b *strings.Builder, x, y, size int, s string) {
	fmt.Fprintf(b, `<text x="%d" y="%d" font-size="%d" text-anchor="middle" fill="#222222">%s</text>`+"\n", x, y, size, s)
}

func color(server string) string {
	switch server {
	case floor:
		return "#b0b0b0"
	case "nginx":
		return "#5b8db8"
	}
	return "#2a7a4b"
}
