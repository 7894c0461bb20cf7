package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"jaegis-proxy/config"
	"jaegis-proxy/proxy"
)

func cmdKey() command {
	const help = "say which key a request has and what made it, without sending it: key [FLAGS] PATH"
	return command{name: "key", help: help, run: func(_ context.Context, args []string, std stdio) int {
		fs := newFlags("key")
		config.AddFlags(fs)
		r := addRequestFlags(fs)
		asJSON := fs.Bool("json", false, "print JSON")
		// The one argument is the target; what parseFlags takes is flags only.
		target, rest := cutTarget(fs, args)
		if code, ok := parseFlags(fs, help, rest, std); !ok {
			return code
		}
		src := config.FromFlags(fs, std.Environ)
		src.AllowMasked = true // nothing is served by it
		cfg, ok := loadConfig(src, std)
		if !ok {
			return exitUsage
		}
		e, err := r.explain(cfg, target, std.In)
		if err != nil {
			fmt.Fprintf(std.Err, "jaegis-proxy key: %v\n", err)
			return exitUsage
		}
		if *asJSON {
			return printJSON(std, e)
		}
		printExplanation(std.Out, e)
		return exitOK
	}}
}

// requestFlags describe a request as curl's flags of the same names do.
type requestFlags struct {
	method  *string
	headers *[]string
	data    *string
}

func addRequestFlags(fs *pflag.FlagSet) *requestFlags {
	return &requestFlags{
		method:  fs.StringP("request", "X", "", "the method; POST when there is a body, else GET"),
		headers: fs.StringArrayP("header", "H", nil, "a header, \"Name: value\"; may be given many times"),
		data:    fs.StringP("data", "d", "", "the body; @FILE reads it from a file as it is, @- from standard input"),
	}
}

// cutTarget takes the one argument that is no flag out of args.
func cutTarget(fs *pflag.FlagSet, args []string) (target string, rest []string) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case !strings.HasPrefix(a, "-"):
			if target != "" {
				return target, append(rest, args[i:]...)
			}
			target = a
		case takesValue(fs, a) && i+1 < len(args):
			rest = append(rest, a, args[i+1])
			i++
		default:
			rest = append(rest, a)
		}
	}
	return target, rest
}

// takesValue says whether the following argument belongs to flag a.
func takesValue(fs *pflag.FlagSet, a string) bool {
	if strings.Contains(a, "=") {
		return false
	}
	f := fs.Lookup(strings.TrimLeft(a, "-"))
	if f == nil && len(a) == 2 {
		f = fs.ShorthandLookup(a[1:])
	}
	return f != nil && f.NoOptDefVal == ""
}

// explain asks the same code that serves requests.
func (r *requestFlags) explain(cfg *config.Config, target string, in io.Reader) (proxy.Explanation, error) {
	if target == "" {
		return proxy.Explanation{}, errors.New("which request? name its path, for example /v1/chat/completions?a=b")
	}
	header, err := parseHeaders(*r.headers)
	if err != nil {
		return proxy.Explanation{}, err
	}
	body, err := readData(*r.data, in)
	if err != nil {
		return proxy.Explanation{}, err
	}
	method := *r.method
	if method == "" {
		method = http.MethodGet
		if len(body) > 0 {
			method = http.MethodPost
		}
	}
	table, err := newTable(cfg)
	if err != nil {
		return proxy.Explanation{}, err
	}
	return table.Explain(method, target, header, body)
}

func parseHeaders(lines []string) (http.Header, error) {
	h := http.Header{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, fmt.Errorf("header %q: must be \"Name: value\"", line)
		}
		h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return h, nil
}

func readData(data string, in io.Reader) ([]byte, error) {
	switch {
	case data == "@-":
		return io.ReadAll(in)
	case strings.HasPrefix(data, "@"):
		return os.ReadFile(data[1:])
	}
	return []byte(data), nil
}

func printExplanation(w io.Writer, e proxy.Explanation) {
	switch {
	case e.Route == "":
		fmt.Fprintln(w, "no route takes this request, and there is no default upstream: it is answered with 404")
		return
	case e.Bypass != "":
		fmt.Fprintf(w, "route   %s\nthe cache is not asked (%s): the request goes to the upstream\n", e.Route, e.Bypass)
		return
	}
	fmt.Fprintf(w, "route   %s\nkey     %s\nmade of\n", e.Route, e.Key)
	for _, p := range e.Parts {
		value := printable(p.Value)
		if p.Name == "part" { // of a body: quoted and bounded where it has to be
			value = p.Value
		}
		fmt.Fprintf(w, "  %-16s %s (%d bytes)\n", p.Name, value, p.Length)
	}
}

// printable shows a value on one line of bounded length.
func printable(s string) string {
	const most = 120
	q := fmt.Sprintf("%q", s)
	if len(q) > most {
		q = q[:most] + "..."
	}
	return q
}

func printJSON(std stdio, e proxy.Explanation) int {
	type part struct {
		Name  string `json:"name"`
		Value string `json:"value"`
		Bytes int    `json:"bytes"`
	}
	out := struct {
		Route  string `json:"route"`
		Bypass string `json:"bypass,omitempty"`
		Key    string `json:"key,omitempty"`
		Parts  []part `json:"parts,omitempty"`
	}{Route: e.Route, Bypass: e.Bypass}
	if e.Route != "" && e.Bypass == "" {
		out.Key = e.Key.String()
	}
	for _, p := range e.Parts {
		out.Parts = append(out.Parts, part{p.Name, p.Value, p.Length})
	}
	enc := json.NewEncoder(std.Out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		fmt.Fprintf(std.Err, "jaegis-proxy key: %v\n", err)
		return exitFailure
	}
	return exitOK
}
