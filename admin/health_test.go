package admin

import (
	"encoding/json"
	"testing"
	"time"
)

func TestReadyzSaysWhetherToSendRequestsHere(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	redisDown := []Degraded{{Component: "redis", Error: "connection refused", Since: since}}
	const redisJSON = `[{"component":"redis","error":"connection refused","since":"2026-01-02T03:04:05Z"}]`
	var now Health
	o := options()
	o.Health = func() Health { return now }
	_, base := start(t, o)
	f := func(h Health, wantCode int, want string) {
		t.Helper()
		now = h
		resp, body := ask(t, "GET", base+"/readyz")
		if resp.StatusCode != wantCode || body != want+"\n" {
			t.Errorf("%+v: %d %s, want %d %s", h, resp.StatusCode, body, wantCode, want)
		}
	}
	f(Health{}, 503, `{"status":"starting","degraded":[]}`)
	f(Health{Ready: true}, 200, `{"status":"ok","degraded":[]}`)
	f(Health{Ready: true, Degraded: redisDown}, 200, `{"status":"degraded","degraded":`+redisJSON+`}`)
	f(Health{Ready: true, Draining: true}, 503, `{"status":"draining","degraded":[]}`)
	f(Health{Draining: true, Degraded: redisDown}, 503, `{"status":"draining","degraded":`+redisJSON+`}`)
	f(Health{Degraded: redisDown}, 503, `{"status":"starting","degraded":`+redisJSON+`}`)
}

func TestHealthzIsWellAsLongAsTheProcessServes(t *testing.T) {
	o := options()
	o.Health = func() Health { return Health{Draining: true, Degraded: []Degraded{{Component: "redis"}}} }
	_, base := start(t, o)
	resp, body := ask(t, "GET", base+"/healthz")
	var answer struct{ Status, Version string }
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || answer.Status != "ok" || answer.Version != "1.2.3" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}
