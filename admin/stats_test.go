package admin

import (
	"strings"
	"testing"
)

func TestStatsAreWhatTheProcessSaysNow(t *testing.T) {
	n := 0
	o := options()
	o.Stats = func() any { n++; return map[string]int{"asked": n} }
	_, base := start(t, o)
	f := func(want string) {
		t.Helper()
		resp, body := ask(t, "GET", base+"/api/v1/stats?x=1")
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" || body != want+"\n" {
			t.Errorf("%d %s %s, want %s", resp.StatusCode, resp.Header.Get("Content-Type"), body, want)
		}
	}
	f(`{"asked":1}`)
	f(`{"asked":2}`)
}

func TestStatsNeedTheToken(t *testing.T) {
	o := options()
	o.Token = token
	o.Stats = func() any { return "chat" }
	_, base := start(t, o)
	for _, fields := range [][]string{nil, {"Authorization: Bearer s3cre"}, {"Authorization: Basic " + token}} {
		resp, body := ask(t, "GET", base+"/api/v1/stats", fields...)
		if resp.StatusCode != 401 || errorType(t, resp, body) != "jaegis_unauthorized" || strings.Contains(body, "chat") {
			t.Errorf("%q: %d %s", fields, resp.StatusCode, body)
		}
	}
	if resp, body := ask(t, "GET", base+"/api/v1/stats", "Authorization: Bearer "+token); resp.StatusCode != 200 || body != "\"chat\"\n" {
		t.Errorf("with the token: %d %s", resp.StatusCode, body)
	}
}

func TestWithoutATokenStatsAreNotForOtherSites(t *testing.T) {
	_, base := start(t, options())
	for _, field := range []string{"Host: evil.example", "Sec-Fetch-Site: cross-site", "Origin: http://evil.example"} {
		resp, body := ask(t, "GET", base+"/api/v1/stats", field)
		if resp.StatusCode != 403 || errorType(t, resp, body) != "jaegis_forbidden" {
			t.Errorf("%s: %d %s", field, resp.StatusCode, body)
		}
	}
}
