package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// shellWords reads one command as a shell does, over as many lines as it has, and
// gives its words. Variables are those of the environment; nothing is run.
func (w *warmReader) shellWords(first string) ([]string, error) {
	lines := &commandLines{w: w, rest: first}
	var call *syntax.Stmt
	many := false
	parser := syntax.NewParser(syntax.Variant(syntax.LangBash))
	var err error
	ended := false
	for stmts, fault := range parser.InteractiveSeq(lines) {
		if ended {
			continue // the parser does not bear that its loop is left after a fault
		}
		for _, s := range stmts {
			many = many || call != nil
			call = s
		}
		if err = fault; err != nil || !parser.Incomplete() {
			ended, lines.rest, lines.end = true, "", io.EOF
		}
	}
	var long *lineError
	var fault syntax.ParseError
	switch {
	case errors.As(err, &long):
		return nil, errors.New(long.what)
	case errors.As(err, &fault):
		return nil, fmt.Errorf("no shell command: %s, in its line %d", fault.Text, fault.Pos.Line())
	case err != nil:
		return nil, err
	case call == nil || !ended:
		return nil, errors.New("the command does not end: is a quote missing?")
	case many:
		return nil, errors.New("several commands in one line")
	}
	return w.expand(call)
}

// expand gives the words of a command that does nothing but call a program.
func (w *warmReader) expand(s *syntax.Stmt) ([]string, error) {
	call, ok := s.Cmd.(*syntax.CallExpr)
	if !ok || len(call.Assigns) > 0 || len(s.Redirs) > 0 || s.Background || s.Negated || s.Coprocess {
		return nil, errors.New("more than one curl command: pipes, redirections and the like are not understood")
	}
	var odd error
	syntax.Walk(s, func(n syntax.Node) bool {
		switch n.(type) {
		case *syntax.CmdSubst, *syntax.ProcSubst:
			odd = errors.New("it runs another command; write what that prints")
		case *syntax.ArithmExp, *syntax.ExtGlob:
			odd = errors.New("it has an expression of the shell; write what that comes to")
		}
		return odd == nil
	})
	if odd != nil {
		return nil, odd
	}
	// Words are not split, nor are braces and wildcards expanded: a short line
	// could become very many words.
	with, words := &expand.Config{Env: expand.ListEnviron(w.env...), NoUnset: true}, make([]string, 0, len(call.Args))
	for _, arg := range call.Args {
		word, err := expand.Literal(with, arg)
		if err != nil {
			return nil, err
		}
		words = append(words, word)
	}
	return words, nil
}

// commandLines gives the parser a line at a time: it asks for the next one only
// where the command goes on there.
type commandLines struct {
	w    *warmReader
	rest string
	size int
	end  error
}

func (c *commandLines) Read(p []byte) (int, error) {
	if c.rest == "" {
		if c.end != nil {
			return 0, c.end
		}
		if c.rest, c.end = c.w.readLine(); c.rest == "" {
			return 0, c.end
		}
	}
	if !strings.HasSuffix(c.rest, "\n") {
		c.rest += "\n"
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	if c.size += n; c.size > maxWarmRequest {
		return 0, &lineError{c.w.line, errLongRequest.Error()}
	}
	return n, nil
}
