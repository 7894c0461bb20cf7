package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds the configuration file.
const maxFile = 1 << 20

// readFile reads the configuration file. A failure is a problem of its own
// kind for each of the ways in which people get this wrong.
func readFile(name string) ([]byte, *Problem) {
	bad := func(what, fix string) *Problem {
		return &Problem{Source: name, What: what, Fix: fix}
	}
	f, err := os.Open(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, bad("there is no such file", "give the path of the configuration with --config")
	case errors.Is(err, os.ErrPermission):
		return nil, bad("may not be read", "let the user that runs the proxy read it")
	case err != nil:
		return nil, bad("cannot be opened: "+plain(err), "")
	}
	defer func() { _ = f.Close() }() // only read from
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, bad("is a directory", "name the file in it")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, bad("cannot be read: "+plain(err), "")
	}
	if len(data) > maxFile {
		return nil, bad("is larger than 1 MiB", "check that this is the configuration")
	}
	return data, nil
}

// plain gives an error without the path that the message already names.
func plain(err error) string {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// parseYAML reads the one document of a file; nodes know their lines.
func parseYAML(name string, data []byte) (*yaml.Node, *Problem) {
	bad := func(line int, what, fix string) *Problem {
		return &Problem{Source: name, Line: line, What: what, Fix: fix}
	}
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return nil, bad(1, "begins with a byte order mark", "save it as UTF-8 without one")
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return nil, bad(1, "is UTF-16", "save it as UTF-8")
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, bad(0, "is empty", "write the configuration, or leave --config away")
	} else if err != nil {
		return nil, syntaxProblem(name, data, err)
	}
	var next yaml.Node
	if err := dec.Decode(&next); err == nil {
		return nil, bad(next.Line, "a second document begins here", "keep one document, without --- lines between")
	} else if !errors.Is(err, io.EOF) {
		return nil, syntaxProblem(name, data, err)
	}
	root := doc.Content[0]
	if isNull(root) {
		return nil, bad(0, "is empty", "write the configuration, or leave --config away")
	}
	return root, nil
}

// syntaxProblem turns the YAML parser's error into ours, and names the usual
// suspect, a tab, where there is one: the parser's own words for it are dark.
func syntaxProblem(name string, data []byte, err error) *Problem {
	for i, line := range bytes.Split(data, []byte("\n")) {
		indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
		if bytes.ContainsRune(indent, '\t') && len(bytes.TrimSpace(line)) > 0 {
			return &Problem{Source: name, Line: i + 1, What: "a tab in the indentation", Fix: "indent with spaces"}
		}
	}
	what := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if rest, ok := strings.CutPrefix(what, "line "); ok {
		if number, text, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				line, what = n, text
			}
		}
	}
	if countsFromZero(what) {
		line++
	}
	return &Problem{Source: name, Line: line, What: "not YAML: " + what}
}

// countsFromZero says whether a message is one of the YAML library's parser,
// which counts lines from 0 and leaves the 0 out; its scanner counts from 1.
func countsFromZero(what string) bool {
	what, ok := strings.CutPrefix(what, "did not find expected ")
	return ok && (what == "key" || what == "node content" || strings.HasPrefix(what, "'") || strings.HasPrefix(what, "<"))
}

// isNull says whether a node stands for nothing: "key:", "key: null" or "~".
func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// nodeKind describes what somebody wrote.
func nodeKind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		return "a single value"
	}
	return fmt.Sprintf("a node of kind %d", n.Kind)
}
