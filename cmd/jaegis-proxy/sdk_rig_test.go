package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The tests in sdk_*_test.go put real AI SDKs before the running program and a
// provider behind it. An SDK runs in a Node.js process (testdata/sdk/run.mjs)
// that prints what it gave to its user; what it gives when it talks to the
// provider itself is what is right.

// sdkRig is an SDK, the proxy, a tap behind it that counts, and the provider.
type sdkRig struct {
	*nodeSDK
	proxy *proc
	tap   *tap
}

// startSDK starts an SDK, the provider, and between them a proxy of which
// nothing is configured but the upstream, with a preset.
func startSDK(t *testing.T, module, preset string) *sdkRig {
	t.Helper()
	tap := startTap(t, startProvider(t))
	p := start(t, fmt.Sprintf("upstreams: {api: {url: %q, preset: %s}}\n", tap.URL, preset))
	return &sdkRig{nodeSDK: startNodeSDK(t, module), proxy: p, tap: tap}
}

// cached runs each scenario three times: against the provider, then twice
// through the proxy. All give the same; the first time through the proxy makes
// the calls that the SDK makes itself, the second makes none.
func (r *sdkRig) cached(t *testing.T, scenarios ...string) {
	t.Helper()
	for _, scenario := range scenarios {
		t.Run(scenario, func(t *testing.T) {
			right := r.run(t, r.tap.URL, scenario)
			direct := r.tap.taken()
			if len(direct) == 0 || len(right) < 2 || strings.HasPrefix(right[0], `["error"`) {
				t.Fatalf("%d calls to the provider gave %.300q", len(direct), right)
			}
			first := r.run(t, r.proxy.URL, scenario)
			sameLines(t, "through the proxy", withoutMintedIDs(first), withoutMintedIDs(right))
			sameCalls(t, r.tap.taken(), direct)
			sameLines(t, "from the cache", r.run(t, r.proxy.URL, scenario), first)
			sameCalls(t, r.tap.taken(), nil)
		})
	}
}

// passed runs each scenario against the provider, then twice through the
// proxy. Nothing is ever stored: all give the same, with the same calls.
func (r *sdkRig) passed(t *testing.T, scenarios ...string) {
	t.Helper()
	for _, scenario := range scenarios {
		t.Run(scenario, func(t *testing.T) {
			right := r.run(t, r.tap.URL, scenario)
			direct := r.tap.taken()
			status := scenario[strings.LastIndexByte(scenario, '-')+1:]
			if len(direct) == 0 || len(right) < 2 || strings.HasPrefix(scenario, "fail-") && !strings.Contains(right[0], `"status":`+status) {
				t.Fatalf("%d calls to the provider gave %.300q", len(direct), right)
			}
			for _, when := range []string{"once", "again"} {
				sameLines(t, when, withoutMintedIDs(r.run(t, r.proxy.URL, scenario)), withoutMintedIDs(right))
				sameCalls(t, r.tap.taken(), direct)
			}
		})
	}
}

// sameLines compares what an SDK gave, line by line.
func sameLines(t *testing.T, what string, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Errorf("%s: %d lines, want %d; line %d is\n%s, want\n%s", what, len(got), len(want), i+1, strings.Join(got[min(i, len(got)):], "\n"), strings.Join(want[min(i, len(want)):], "\n"))
			return
		}
	}
}

// sameCalls compares what reached the provider, byte for byte.
func sameCalls(t *testing.T, got, want []call) {
	t.Helper()
	lines := func(calls []call) (lines []string) {
		for _, c := range calls {
			lines = append(lines, c.head+" "+c.body)
		}
		return withoutMintedIDs(lines)
	}
	sameLines(t, "calls to the provider", lines(got), lines(want))
}

// withoutMintedIDs numbers the ids that the provider makes up for each answer
// anew, in the order in which they come.
func withoutMintedIDs(lines []string) (plain []string) {
	numbers := map[string]string{}
	number := func(id string) string {
		if numbers[id] == "" {
			numbers[id] = fmt.Sprintf("minted-%d", len(numbers)+1)
		}
		return numbers[id]
	}
	// The last is an id, too: that of a reasoning item as its encrypted content.
	minted := regexp.MustCompile(`\b(?:msg|resp|fc|rs|modr|file)-[A-Za-z0-9_-]{16}|YWltb2NrLWVuY3J5cHRlZC1yZWFzb25pbmc6[A-Za-z0-9+/=]+`)
	for _, line := range lines {
		plain = append(plain, minted.ReplaceAllStringFunc(line, number))
	}
	return plain
}

// nodeSDK is a process that runs scenarios of one SDK, one after the other.
type nodeSDK struct {
	in  io.WriteCloser
	out *bufio.Scanner
}

func startNodeSDK(t *testing.T, module string) *nodeSDK {
	t.Helper()
	in, out := startNode(t, "run.mjs", module)
	s := &nodeSDK{in: in, out: bufio.NewScanner(out)}
	s.out.Buffer(nil, 16<<20)
	return s
}

// begin starts a scenario against the API at base.
func (s *nodeSDK) begin(t *testing.T, base, scenario string) {
	t.Helper()
	b, err := json.Marshal(map[string]string{"scenario": scenario, "base": base})
	if err == nil {
		_, err = s.in.Write(append(b, '\n'))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// next is one line of what the SDK gives; false when there is no more.
func (s *nodeSDK) next(t *testing.T) (line string, ok bool) {
	t.Helper()
	if !s.out.Scan() {
		t.Fatalf("the SDK's process ended: %v", s.out.Err())
	}
	return s.out.Text(), s.out.Text() != `["end"]`
}

// rest is all that the SDK still gives.
func (s *nodeSDK) rest(t *testing.T) (lines []string) {
	t.Helper()
	for {
		line, ok := s.next(t)
		if !ok {
			return append(lines, line)
		}
		lines = append(lines, line)
	}
}

func (s *nodeSDK) run(t *testing.T, base, scenario string) []string {
	t.Helper()
	s.begin(t, base, scenario)
	return s.rest(t)
}

// startProvider starts the provider, which ends with the test, and gives its
// URL.
func startProvider(t *testing.T) *url.URL {
	t.Helper()
	_, out := startNode(t, "provider.mjs")
	return printedURL(t, out)
}

// printedURL is that of a server of which the port is the first line that it
// prints.
func printedURL(t *testing.T, out io.Reader) *url.URL {
	t.Helper()
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the server printed no port: %v", err)
	}
	return &url.URL{Scheme: "http", Host: "127.0.0.1:" + strings.TrimSpace(port)}
}

// startNode starts a script of testdata/sdk.
func startNode(t *testing.T, args ...string) (io.WriteCloser, io.Reader) {
	t.Helper()
	needPackage(t, "sdk", "openai")
	env := slices.DeleteFunc(os.Environ(), regexp.MustCompile(`^(OPENAI|ANTHROPIC|GOOGLE|AI)_`).MatchString) // the SDKs read it
	return startScript(t, "sdk", append(env, "AI_SDK_LOG_WARNINGS=false", "NODE_NO_WARNINGS=1"), "node", args...)
}

// needPackage wants a package of npm in a folder of testdata.
func needPackage(t *testing.T, folder, name string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join("testdata", folder, "node_modules", name)); err != nil {
		t.Fatalf("%v: `make tools` installs it", err)
	}
}

// startScript starts a program in a folder of testdata. It must end by itself
// when its input does, at the end of the test; if it hangs before, it is killed.
func startScript(t *testing.T, folder string, env []string, program string, args ...string) (io.WriteCloser, io.Reader) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = filepath.Join("testdata", folder)
	cmd.Env = env
	var errs bytes.Buffer
	cmd.Stderr = &errs
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
	hung := time.AfterFunc(10*patience, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		_ = in.Close() // and so it ends
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil || !hung.Stop() {
			t.Errorf("%v: %v\n%s", args, err, &errs)
		}
	})
	return in, out
}
