package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"jaegis-proxy/proxy"
)

func cmdStats() command {
	const help = "show what a running proxy has answered from its cache, and what that saved"
	return command{name: "stats", help: help, run: func(ctx context.Context, args []string, std stdio) int {
		fs := newFlags("stats")
		addAdminFlags(fs)
		asJSON := fs.Bool("json", false, "print the answer of /api/v1/stats as it is")
		if code, ok := parseFlags(fs, help, args, std); !ok {
			return code
		}
		client, err := newAdminClient(fs, std.Environ)
		if err != nil {
			fmt.Fprintf(std.Err, "jaegis-proxy stats: %v\n", err)
			return exitUsage
		}
		if err := showStats(ctx, client, *asJSON, std.Out); err != nil {
			fmt.Fprintf(std.Err, "jaegis-proxy stats: %v\n", err)
			return exitFailure
		}
		return exitOK
	}}
}

func showStats(ctx context.Context, client *adminClient, asJSON bool, out io.Writer) error {
	answer, err := client.ask(ctx, http.MethodGet, "/api/v1/stats", nil)
	if err != nil {
		return err
	}
	if asJSON {
		_, err := out.Write(answer)
		return err
	}
	var st proxy.Stats
	if err := json.Unmarshal(answer, &st); err != nil || st.Routes == nil {
		return client.stranger()
	}
	return printStats(out, &st)
}

// printStats writes the tables for people.
func printStats(out io.Writer, st *proxy.Stats) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(w, strings.Join(cells, "\t")) } // Flush has the error
	row("ROUTE", "REQUESTS", "HITS", "MISSES", "HIT RATIO", "OUTCOMES", "NOT STORED")
	for _, r := range st.Routes {
		row(slices.Concat([]string{nameOr(r.Route, "(no route)")}, countCells(&r.Counts), []string{tallyText(r.Outcomes), tallyText(r.NotStored)})...)
	}
	row(append([]string{"all"}, countCells(&st.Total.Counts)...)...)
	if err := w.Flush(); err != nil || len(st.Savings) == 0 {
		return err
	}

	currency := "MONEY"
	if st.Currency != "" {
		currency = plainText(st.Currency)
	}
	row("")
	row("ROUTE", "MODEL", "TENANT", "ANSWERS SAVED", "TOKENS IN SAVED", "TOKENS OUT SAVED", "TIME SAVED", currency+" SAVED", currency+" SPENT")
	for _, s := range st.Savings {
		row(append([]string{nameOr(s.Route, "(no route)"), nameOr(s.Model, "-"), nameOr(s.Tenant, "-")}, savingCells(&s.Saved, &s.Spent)...)...)
	}
	row(append([]string{"all", "", ""}, savingCells(&st.Total.Saved, &st.Total.Spent)...)...)
	if st.Total.Saved.TokensUnpriced+st.Total.Spent.TokensUnpriced > 0 {
		row("")
		row(fmt.Sprintf("The money leaves out tokens of models that had no price: %d saved, %d spent.",
			st.Total.Saved.TokensUnpriced, st.Total.Spent.TokensUnpriced))
	}
	return w.Flush()
}

func countCells(c *proxy.Counts) []string {
	ratio := "-"
	if c.Hits+c.Misses > 0 {
		ratio = fmt.Sprintf("%.1f%%", 100*c.HitRatio)
	}
	return []string{fmt.Sprint(c.Requests), fmt.Sprint(c.Hits), fmt.Sprint(c.Misses), ratio}
}

func savingCells(saved, spent *proxy.Tally) []string {
	return []string{
		fmt.Sprint(saved.Requests), fmt.Sprint(saved.TokensIn), fmt.Sprint(saved.TokensOut), durationText(saved.Seconds), moneyText(saved), moneyText(spent),
	}
}

// moneyText is a sum as people read it; a sum that leaves everything out is none.
func moneyText(t *proxy.Tally) string {
	if t.Money == 0 && t.TokensUnpriced > 0 {
		return "?"
	}
	return strconv.FormatFloat(t.Money, 'f', 4, 64)
}

// durationText is a number of seconds to three places, or to whole ones when it
// is a minute or more.
func durationText(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d >= time.Minute {
		return d.Round(time.Second).String()
	}
	return d.Round(time.Millisecond).String()
}

// tallyText lists what has been counted, the most first.
func tallyText(n map[string]int64) string {
	names := slices.SortedFunc(maps.Keys(n), func(a, b string) int {
		return cmp.Or(cmp.Compare(n[b], n[a]), cmp.Compare(a, b))
	})
	for i, what := range names {
		names[i] = plainText(what) + " " + fmt.Sprint(n[what])
	}
	return strings.Join(names, ", ")
}

func nameOr(s, none string) string {
	if s == "" {
		return none
	}
	return plainText(s)
}
