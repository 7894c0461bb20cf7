package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// get sends a GET with a Connection: close and the header lines given.
func (h *house) get(t *testing.T, target, host, fields string) *reply {
	t.Helper()
	return talk(t, h.Addr, "GET "+target+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n"+fields+"\r\n")
}

// 20: an absolute target names the host, whatever Host says (RFC 9112, section
// 3.2.2), for the route, the key and the upstream alike.
func TestFrontDoorTakesOneHostFromAnAbsoluteTarget(t *testing.T) {
	h := frontDoor(t)
	f := func(path, wantHost string) {
		t.Helper()
		before := h.origin.Calls()
		got := h.get(t, "http://a.example"+path, "b.example", "")
		if got.StatusCode == http.StatusBadRequest && h.origin.Calls() == before {
			return // refused: then there is nothing to confuse
		}
		first := got.proof(t, "GET", path, "", "")
		r := h.lastRequest()
		if r.Fault != "" || r.Target != path || !slices.Equal(r.Values("Host"), []string{wantHost}) {
			t.Errorf("the origin has %q, fault %q, want host %s", r.Head, r.Fault, wantHost)
		}
		if h.origin.Calls() != before+1 || first.Call != before+1 {
			t.Errorf("%d calls, answer of call %d", h.origin.Calls()-before, first.Call)
		}
	}
	f("/plain/abs", h.origin.Addr)
	f("/cached/abs", h.origin.Addr)
	f("/kept/abs", "a.example")

	// Where the upstream sees the client's Host, two hosts are two answers.
	other := h.get(t, "/kept/abs", "b.example", "").proof(t, "GET", "/kept/abs", "", "")
	if r := h.lastRequest(); other.Call != h.origin.Calls() || r.Value("Host") != "b.example" {
		t.Errorf("b.example was given the answer of call %d of %d, made for %q", other.Call, h.origin.Calls(), r.Value("Host"))
	}
}

// 21: every spelling of a path is forwarded as it came and has its own key.
func TestFrontDoorKeysThePathThatItForwards(t *testing.T) {
	h := frontDoor(t)
	targets := []string{
		"/cached/a", "/cached/%61", "/cached/%2561", "/cached//a", "/cached/./a", "/cached/b/../a",
		"/cached/b/%2e%2e/a", "/cached/b/%2E%2E/a", "/cached/a//b/../%2e%2e/d", "/cached/a/", "/cached/a%2F",
		"/cached/a;x.css", "/cached/a?", "/cached/a?b", "/cached/a?b=", "/cached/a?b=%63", "/cached/a?b=c", "/cached/a?a=1;b=2&a=3", "/cached/a?b=c+d", "/cached/a?b=c%20d",
	}
	seen := map[int]string{}
	for _, target := range targets {
		before := h.origin.Calls()
		got := h.get(t, target, "h", "")
		if got.StatusCode == http.StatusBadRequest && h.origin.Calls() == before {
			continue // refused
		}
		proof := got.proof(t, "GET", target, "", "")
		if r := h.lastRequest(); r.Fault != "" || r.Target != target {
			t.Errorf("sent %s, forwarded %s, fault %q", target, r.Target, r.Fault)
		}
		if other, ok := seen[proof.Call]; ok {
			t.Errorf("%s was given the answer of %s", target, other)
		}
		seen[proof.Call] = target
	}
	if seen[1] != "/cached/a" || len(seen) < 10 {
		t.Errorf("only %d of %d spellings passed", len(seen), len(targets))
	}
}

// 22: methods that mean something to a proxy are refused, others go by rule.
func TestFrontDoorKnowsItsMethods(t *testing.T) {
	h := frontDoor(t)
	h.get(t, "/cached/m", "h", "").proof(t, "GET", "/cached/m", "", "")
	refused := []int{http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented}
	f := func(line string, mayPass bool) {
		t.Helper()
		before := h.origin.Calls()
		got := talk(t, h.Addr, line+" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		passed := h.origin.Requests()[before:]
		if len(passed) == 0 && slices.Contains(refused, got.StatusCode) {
			return
		}
		if !mayPass || len(passed) != 1 {
			t.Errorf("%s: status %d, %d requests reached the origin; %q", line, got.StatusCode, len(passed), got.Body)
			return
		}
		if r := passed[0]; r.Method+" "+r.Target != line || r.Fault != "" {
			t.Errorf("%s was passed on as %q, fault %q", line, r.Head, r.Fault)
		}
	}
	f("CONNECT h:80", false)
	f("CONNECT /cached/m", false)
	f("TRACE /cached/m", false)
	f("TRACE /plain/m", false)
	f("get /cached/m", true)
	f("Get /plain/m", true)
	f("OPTIONS *", true)
	f("GET *", false)
	f("GET cached/m", false)
	f("G@T /cached/m", false)
	f("PRI *", false)
}

// 23: Connection names what ends at the proxy; framing, identity and what the
// key is made from do not.
func TestFrontDoorKeepsWhatConnectionMustNotName(t *testing.T) {
	h := frontDoor(t)
	fields := func(key, credential string) string {
		return "Connection: close, content-length, authorization, x-key, host, x-hop\r\nX-Hop: 1\r\nX-Key: " + key +
			"\r\nAuthorization: " + credential + "\r\n" + length5
	}
	for _, path := range []string{"/cached/c", "/plain/c"} {
		calls := map[int]bool{}
		for _, key := range []string{"k1", "k2"} {
			for _, credential := range []string{"Bearer a", "Bearer b"} {
				r := h.passed(t, post(fields(key, credential), "hello"), path, credential, "hello")
				calls[r.Call] = true
				if r.Value("X-Key") != key && strings.HasPrefix(path, "/cached/") {
					t.Errorf("%s: X-Key %q reached the origin as %q", path, key, r.Values("X-Key"))
				}
				if r.Value("Authorization") != credential {
					t.Errorf("%s: Authorization reached the origin as %q", path, r.Values("Authorization"))
				}
				if len(r.Values("X-Hop")) > 0 {
					t.Errorf("%s: X-Hop, which Connection names, was passed on", path)
				}
			}
		}
		if len(calls) != 4 {
			t.Errorf("%s: %d answers for four different requests", path, len(calls))
		}
	}
}
