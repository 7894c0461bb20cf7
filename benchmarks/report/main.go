// Command report turns the raw lines of run.sh (on standard input) into a
// table in Markdown and a plot in SVG.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
)

func main() {
	out := flag.String("out", "", "path of the files to write, without .md and .svg")
	var about About
	flag.StringVar(&about.Command, "command", "", "the command that made the measurement")
	flag.StringVar(&about.Machine, "machine", "", "what it ran on")
	flag.StringVar(&about.Versions, "versions", "", "the versions of what was measured")
	flag.Parse()
	if *out == "" {
		log.Fatal("-out is required")
	}
	samples, err := readSamples(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	about.Date = filepath.Base(*out)
	cells := summarize(samples)
	text := markdown(about, cells)
	for name, content := range map[string]string{*out + ".md": text, *out + ".svg": plot(cells)} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Print("\n", text)
}
