package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"jaegis-proxy/internal/proxytest"
)

// operations is how many requests are made: JAEGIS_OPERATIONS, which make test
// sets to a million and make soak to ten.
func operations(t *testing.T) int {
	t.Helper()
	text := os.Getenv("JAEGIS_OPERATIONS")
	if text == "" {
		return 40_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Faults and purges while many ask: nothing that is wrong is given to anybody.
// A busy machine takes its time between the proxies: a purge has half a second
// to reach the others.
func TestNoAnswerIsWrong(t *testing.T) {
	plain, raced := build(t, false), build(t, true)
	checker := filepath.Join(t.TempDir(), "history") // with the race detector it would ask too little
	if said, err := exec.Command("go", "build", "-buildvcs=false", "-o", checker, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, said)
	}
	all := operations(t)
	f := func(backend, program string, share int) {
		t.Run(fmt.Sprint(backend, "/", filepath.Base(filepath.Dir(program))), func(t *testing.T) {
			want := max(all*share/100, 5_000)
			cmd := exec.CommandContext(t.Context(), checker, "-redis", backend, "-program", program,
				"-ops", fmt.Sprint(want), "-time", "40m", "-grace", "500ms", "-dir", os.TempDir())
			cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it ends what it has started
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Fatal(err)
			}
			m := regexp.MustCompile(`(?m)^requests +(\d+)$`).FindSubmatch(out)
			if m == nil {
				t.Fatal("it does not say how many requests it made")
			}
			if n, err := strconv.Atoi(string(m[1])); err != nil || n < want*9/10 { // those that were not answered are asked anew
				t.Errorf("%s requests, want %d", m[1], want)
			}
		})
	}
	f("memory", plain, 15)
	f("single", plain, 60)
	f("single", raced, 5)
	f("sentinel", plain, 10)
	f("cluster", plain, 10)
}

// build gives the program, in a folder that says how it was built.
func build(t *testing.T, race bool) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), map[bool]string{false: "plain", true: "race"}[race])
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	program, err := proxytest.Build(dir, race)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

func TestItSaysWhatIsWrongWithItsFlags(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := command(t.Context(), args, &out, &errs); code != exitTrouble || !regexp.MustCompile(want).MatchString(errs.String()) {
			t.Errorf("%v: exit status %d, %s", args, code, &errs)
		}
	}
	f("must be one of memory, single", "-redis", "many")
	f("there is proxy-killed", "-faults", "earthquake")
	f("must be 1 at least", "-clients", "0")
	f("must be above 0", "-every", "0s")
	f("is no flag", "-ops", "1", "more")
}
