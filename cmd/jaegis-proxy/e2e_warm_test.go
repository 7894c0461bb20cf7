package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// warm runs the command on a file of requests, and gives its exit code and what
// it prints.
func warm(t *testing.T, requests string, args ...string) (code int, report, errs string) {
	t.Helper()
	cmd := warmCommand(t, requests, args...)
	var out, fault bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &fault
	_ = cmd.Run() // its exit code is looked at
	return cmd.ProcessState.ExitCode(), out.String(), fault.String()
}

func warmCommand(t *testing.T, requests string, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(warmFiles(t), "requests")
	if err := os.WriteFile(file, []byte(requests), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, append([]string{"warm", "--from", file}, args...)...)
	cmd.Env = append(cleanEnv(), "TOKEN=s3cret", "HTTP_PROXY=http://127.0.0.1:1")
	return cmd
}

// warmCountsOf reads a report in JSON.
func warmCountsOf(t *testing.T, report string) warmCounts {
	t.Helper()
	var c warmCounts
	if err := json.Unmarshal([]byte(report), &c); err != nil {
		t.Fatalf("%v: %s", err, report)
	}
	return c
}

const warmed = `
upstreams: {u: {url: "%s"}}
default_upstream: u
routes:
  - {name: jobs, match: {path: /jobs/*}, ttl: 1h}
  - {name: rest, match: {path: /c/*}, ttl: 1h}
`

// requestsOfAllKinds has a request of each kind; URL stands for the proxy's.
const requestsOfAllKinds = `# what is asked for each morning
{"path": "/c/1"}
{"path": "/c/2", "multipart": [{"name": "file", "file": "a.pdf"}]}
{"url": "URL/c/3?key=s3cret", "body": {"x": 1}, "headers": {"Authorization": "Bearer s3cret"}}

curl URL/c/4 -F file=@a.pdf -F "note=it's" \
  -H "Authorization: Bearer $TOKEN"
curl -X POST /c/5 --data-binary @b.txt
curl -G URL/c/6 --data-urlencode "q=the house"
`

func TestWarmFillsTheCache(t *testing.T) {
	u := serveProvider(t)
	u.set(func(w http.ResponseWriter, r *http.Request) bool {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%d bytes", len(body))
		return true
	})
	p := start(t, fmt.Sprintf(warmed, u.URL))
	requests := strings.ReplaceAll(requestsOfAllKinds, "URL", p.URL)
	code, report, errs := warm(t, requests, "--target", p.URL, "--json", "--concurrency", "2")
	c := warmCountsOf(t, report)
	if code != 0 || c.Requests != 6 || c.Stored != 6 || c.Errors != 0 || c.Sent == 0 || c.Received == 0 || errs != "" {
		t.Fatalf("exit %d, %s %s", code, report, errs)
	}
	calls := u.calls.Load()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		code, report, _ = warm(t, requests, "--target", p.Addr)
		if code == 0 && strings.Contains(report, "from the cache  6\n") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("exit %d, %s", code, report)
		}
	}
	if u.calls.Load() != calls {
		t.Errorf("%d more upstream calls", u.calls.Load()-calls)
	}

	// What curl itself sends is answered from what was warmed.
	if path, err := exec.LookPath("curl"); err == nil {
		dir := warmFiles(t)
		for _, args := range [][]string{
			{p.URL + "/c/4", "-F", "file=@" + filepath.Join(dir, "a.pdf"), "-F", "note=it's", "-H", "Authorization: Bearer s3cret"},
			{"-G", p.URL + "/c/6", "--data-urlencode", "q=the house"},
		} {
			cmd := exec.Command(path, append([]string{"-s", "-o", os.DevNull, "-D", "-"}, args...)...)
			cmd.Env = cleanEnv()
			if head, err := cmd.Output(); err != nil || !strings.Contains(string(head), "X-Cache: HIT") {
				t.Errorf("%q: %v %s", args, err, head)
			}
		}
	}
}

func TestWarmTellsWhatFailed(t *testing.T) {
	u := serveProvider(t)
	u.set(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/c/fails":
			w.WriteHeader(http.StatusInternalServerError)
		case "/jobs/1":
			fmt.Fprint(w, `{"status":"processing"}`)
		case "/c/cut":
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "cut")
			w.(http.Flusher).Flush()
		default:
			fmt.Fprint(w, "{}")
		}
		return true
	})
	p := start(t, fmt.Sprintf(warmed, u.URL))
	cmd := warmCommand(t, `{"path":"/jobs/1"}
{"path":"/c/fails?key=s3cret","headers":{"Authorization":"s3cret"}}
{"path":"/c/good"}
{"url":"http://user:s3cret@example.com/c/1"}
{"path":"/c/1","body_file":"missing"}
curl --proxy s3cret /c/1
{"path":"/c/cut"}
curl /c/1 -X PUT -d x
`, "--json", "-H", "X-Key: s3cret")
	cmd.Env = append(cmd.Env, "JAEGIS_LISTEN="+p.Addr)
	var out, fault bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &fault
	_ = cmd.Run() // its exit code is looked at
	c := warmCountsOf(t, out.String())
	if got := cmd.ProcessState.ExitCode(); got != 1 || c.Errors != 5 || c.Stored != 1 || c.NotStored["pending"] != 1 || c.NotStored["method"] != 1 {
		t.Errorf("exit %d %s", got, &out)
	}
	for _, want := range []string{
		`line 2: GET "/c/fails": status 500, not stored (status)`, "line 4: goes to example.com; write its path alone", "line 5: ", "no such file",
		"line 6: curl's flag --proxy is not understood", `line 7: GET "/c/cut": the answer is cut`,
	} {
		if !strings.Contains(fault.String(), want) {
			t.Errorf("%s is not in\n%s", want, &fault)
		}
	}
	if strings.Contains(out.String()+fault.String(), "s3cret") {
		t.Errorf("a credential is printed: %s %s", &out, &fault)
	}

	// Something else than the proxy is not taken for it, and nothing is followed
	// to another place.
	if code, _, errs := warm(t, `{"path":"/c/good"}`, "--target", u.URL); code != 1 || !strings.Contains(errs, "is there a jaegis-proxy?") {
		t.Errorf("exit %d %s", code, errs)
	}
	for args, want := range map[string]string{
		"--concurrency 0": "is not from 1 to 256", "--target ftp://h": "not the URL of a proxy", "-H s3cret": "must be",
	} {
		if code, _, errs := warm(t, "", strings.Fields(args)...); code != 2 || !strings.Contains(errs, want) || strings.Contains(errs, "s3cret") {
			t.Errorf("%s: exit %d %s", args, code, errs)
		}
	}
}

// An interrupt ends what is under way, and what was done is told.
func TestWarmTellsWhatWasDoneWhenItIsInterrupted(t *testing.T) {
	u := serveProvider(t)
	arrived := make(chan struct{}, 10)
	u.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/c/2" {
			arrived <- struct{}{}
			<-r.Context().Done()
		}
		fmt.Fprint(w, "x")
		return true
	})
	p := start(t, fmt.Sprintf(strings.ReplaceAll(warmed, "ttl: 1h", "ttl: 1h, on_abandon: cancel"), u.URL))
	cmd := warmCommand(t, "{\"path\":\"/c/1\"}\n{\"path\":\"/c/2\"}\n{\"path\":\"/c/3\"}\n", "--target", p.URL, "--concurrency", "1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-arrived
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v", err)
	}
	if got := out.String(); !strings.Contains(got, "interrupted") || !strings.Contains(got, "stored      1\n") && !strings.Contains(got, "  stored") || u.calls.Load() != 2 {
		t.Errorf("%d calls, %s", u.calls.Load(), got)
	}
}
