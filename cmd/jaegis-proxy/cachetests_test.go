package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The public HTTP cache tests (cache-tests.fyi) are run through the program,
// with their own origin behind it and their own client before it. What passes
// of the required and the optimal ones, and of those of CDN-Cache-Control, is
// recorded in passing.json, a list that may only grow; refused.json gives the
// reason for each required test, and each of CDN-Cache-Control, that is failed on
// purpose. Of those that only ask what a cache does (check), and of
// those about a field that is no standard (surrogate), none is wrong either way.

var updateCacheTests = flag.Bool("update", false, "add the public cache tests that pass now to testdata/cachetests/passing.json")

// cacheTest is one test of the suite and what became of it.
type cacheTest struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Kind    string   `json:"kind"`  // required, optimal, check, surrogate or cdn
	Needs   []string `json:"needs"` // the tests without which a pass means nothing
	Passed  bool     `json:"passed"`
	Message string   `json:"message"` // why it did not pass
}

func (c cacheTest) String() string {
	return fmt.Sprintf("%s %s: %s: %s", c.Kind, c.ID, c.Name, c.Message)
}

func TestPublicCacheTestsPassThatEverPassed(t *testing.T) {
	var passing map[string][]string
	readJSON(t, "passing.json", &passing)
	origin := startCacheOrigin(t)
	p := start(t, fmt.Sprintf("upstreams: {origin: {url: %q}}\nroutes: [{name: all, freshness: origin, share_authorized: true}]\n", origin))
	all := runCacheTests(t, p.URL)
	faults, gained := judgeCacheTests(all, passing)
	for _, f := range faults {
		t.Error(f)
	}
	for kind, ids := range gained {
		t.Logf("%s: passing for the first time, to be recorded by go test -run %s -update: %s", kind, t.Name(), strings.Join(ids, " "))
		passing[kind] = append(passing[kind], ids...)
		slices.Sort(passing[kind])
	}
	if len(gained) > 0 && *updateCacheTests {
		writeJSON(t, "passing.json", passing)
	}
	for _, kind := range []string{"required", "optimal", "cdn", "check", "surrogate"} {
		passed, of := countKind(all, kind)
		t.Logf("%s: %d of %d", kind, passed, of)
	}

	var refused map[string]string
	readJSON(t, "refused.json", &refused)
	for _, f := range judgeRefusals(all, refused) {
		t.Error(f)
	}
	byID := index(all)
	for _, c := range all {
		if _, ok := firstFailure(byID, c); !ok && (c.Kind == "required" || c.Kind == "cdn") && refused[c.ID] == "" {
			t.Errorf("neither passes nor is refused for a reason: %s", c)
		}
	}
}

// judgeCacheTests compares what became of the tests with the ids that passed
// before, by kind. A test passes when all that it needs passes too.
func judgeCacheTests(all []cacheTest, before map[string][]string) (faults []string, gained map[string][]string) {
	byID := index(all)
	gained = map[string][]string{}
	for _, c := range all {
		if c.Kind != "required" && c.Kind != "optimal" && c.Kind != "cdn" {
			continue
		}
		failed, ok := firstFailure(byID, c)
		known := slices.Contains(before[c.Kind], c.ID)
		switch {
		case ok && !known:
			gained[c.Kind] = append(gained[c.Kind], c.ID)
		case !ok && known && failed.ID == c.ID:
			faults = append(faults, "passed before: "+c.String())
		case !ok && known:
			faults = append(faults, fmt.Sprintf("passed before: %s %s: %s: it needs %s", c.Kind, c.ID, c.Name, failed))
		}
	}
	for kind, ids := range before {
		for _, id := range ids {
			if byID[id].Kind != kind {
				faults = append(faults, fmt.Sprintf("passing.json has %s as %s, and the suite has no such test", id, kind))
			}
		}
	}
	slices.Sort(faults)
	return faults, gained
}

// firstFailure finds what keeps c from passing: itself or what it needs.
func firstFailure(byID map[string]cacheTest, c cacheTest) (failed cacheTest, ok bool) {
	if !c.Passed {
		return c, false
	}
	for _, id := range c.Needs {
		if failed, ok := firstFailure(byID, byID[id]); !ok {
			return failed, false
		}
	}
	return cacheTest{}, true
}

// judgeRefusals finds refusals that are none: each must be of a required test
// that fails, and say why it may.
func judgeRefusals(all []cacheTest, refused map[string]string) (faults []string) {
	byID := index(all)
	for id, reason := range refused {
		c := byID[id]
		if _, ok := firstFailure(byID, c); ok || c.Kind != "required" && c.Kind != "cdn" || len(strings.Fields(reason)) < 5 {
			faults = append(faults, fmt.Sprintf("refused.json has %s (%q), which must be a required test that fails, for a reason", id, reason))
		}
	}
	slices.Sort(faults)
	return faults
}

func countKind(all []cacheTest, kind string) (passed, of int) {
	byID := index(all)
	for _, c := range all {
		if c.Kind != kind {
			continue
		}
		of++
		if _, ok := firstFailure(byID, c); ok {
			passed++
		}
	}
	return passed, of
}

func index(all []cacheTest) map[string]cacheTest {
	byID := map[string]cacheTest{}
	for _, c := range all {
		byID[c.ID] = c
	}
	return byID
}

func TestPublicCacheTestsAreJudgedByWhatPassedBefore(t *testing.T) {
	suite := []cacheTest{
		{ID: "base", Kind: "optimal", Passed: true},
		{ID: "lost", Kind: "required", Message: "no"},
		{ID: "leans", Kind: "optimal", Passed: true, Needs: []string{"base", "deep"}},
		{ID: "deep", Kind: "check", Passed: true, Needs: []string{"lost"}},
		{ID: "new", Kind: "required", Passed: true, Needs: []string{"base"}},
	}
	f := func(before map[string][]string, wantFaults []string, wantGained ...string) {
		t.Helper()
		faults, gained := judgeCacheTests(suite, before)
		if !slices.EqualFunc(faults, wantFaults, strings.Contains) {
			t.Errorf("%v: faults %q, want %q", before, faults, wantFaults)
		}
		if got := slices.Sorted(slices.Values(slices.Concat(gained["check"], gained["optimal"], gained["required"]))); !slices.Equal(got, wantGained) {
			t.Errorf("%v: gained %q, want %q", before, got, wantGained)
		}
	}
	f(nil, nil, "base", "new")
	f(map[string][]string{"optimal": {"base"}, "required": {"new"}}, nil)
	f(map[string][]string{"required": {"lost"}}, []string{"passed before: required lost"}, "base", "new")
	f(map[string][]string{"optimal": {"leans"}}, []string{"it needs required lost"}, "base", "new")
	f(map[string][]string{"required": {"base", "gone"}}, []string{"has base as required", "has gone as required"}, "base", "new")

	g := func(id, reason string, want int) {
		t.Helper()
		if got := judgeRefusals(suite, map[string]string{id: reason}); len(got) != want {
			t.Errorf("%s: %q: %q", id, reason, got)
		}
	}
	const reason = "RFC 9111 says the very opposite."
	g("lost", reason, 0)
	g("lost", " ", 1)
	g("new", reason, 1)
	g("leans", reason, 1)
	g("gone", reason, 1)
}

// nodeScript is a script of testdata/cachetests, ready to be started.
func nodeScript(t *testing.T, ctx context.Context, args ...string) *exec.Cmd {
	t.Helper()
	dir := filepath.Join("testdata", "cachetests")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "http-cache-tests")); err != nil {
		t.Fatalf("%v: `make tools` installs it", err)
	}
	cmd := exec.CommandContext(ctx, "node", args...)
	cmd.Dir = dir
	return cmd
}

// startCacheOrigin starts the suite's origin, which ends with the test, and
// gives its URL.
func startCacheOrigin(t *testing.T) string {
	t.Helper()
	cmd := nodeScript(t, context.Background(), "origin.mjs")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	port, err := lines.ReadString('\n')
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, lines) // what it remarks about requests
	}()
	t.Cleanup(func() {
		_ = in.Close() // and so it ends
		<-drained
		if err := cmd.Wait(); err != nil {
			t.Errorf("origin.mjs: %v", err)
		}
	})
	if err != nil {
		t.Fatalf("origin.mjs printed no port: %v", err)
	}
	return "http://127.0.0.1:" + strings.TrimSpace(port)
}

// runCacheTests runs the whole suite, which takes some seconds of real time.
func runCacheTests(t *testing.T, base string) (all []cacheTest) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := nodeScript(t, ctx, "run.mjs", base)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("run.mjs: %v\n%s", err, &errs)
	}
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatalf("run.mjs: %v in %.300q", err, out)
	}
	if len(all) < 300 {
		t.Fatalf("the suite has only %d tests", len(all))
	}
	return all
}

func readJSON(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "cachetests", name))
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func writeJSON(t *testing.T, name string, from any) {
	t.Helper()
	b, err := json.MarshalIndent(from, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join("testdata", "cachetests", name), append(b, '\n'), 0o644)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}
