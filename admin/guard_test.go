package admin

import (
	"strings"
	"testing"
)

func TestMetricsNeedTheToken(t *testing.T) {
	o := options()
	o.Token = token
	_, base := start(t, o)
	f := func(wantCode int, fields ...string) {
		t.Helper()
		resp, body := ask(t, "GET", base+"/metrics", fields...)
		if resp.StatusCode != wantCode {
			t.Errorf("%q: %d, want %d", fields, resp.StatusCode, wantCode)
		}
		challenge := resp.Header.Get("WWW-Authenticate")
		if wantCode == 401 {
			if errorType(t, resp, body) != "jaegis_unauthorized" || !strings.HasPrefix(challenge, "Bearer ") {
				t.Errorf("%q: challenge %q, body %s", fields, challenge, body)
			}
			if strings.Contains(body, "jaegis_test_total") {
				t.Errorf("%q: refused, and answered all the same", fields)
			}
		}
	}
	f(200, "Authorization: Bearer "+token)
	f(200, "Authorization: bearer  "+token)
	f(401)
	f(401, "Authorization: Bearer")
	f(401, "Authorization: Bearer ")
	f(401, "Authorization: Bearer s3cre")
	f(401, "Authorization: Bearer s3cret2")
	f(401, "Authorization: Bearer S3CRET")
	f(401, "Authorization: Basic "+token)
	f(401, "Authorization: "+token)
	f(401, "Authorization: Bearer "+token, "Authorization: Bearer "+token)
	f(401, "Authorization: Bearer "+token+", Bearer x")
	f(401, "X-Api-Key: "+token)
}

func TestHealthNeedsNoToken(t *testing.T) {
	o := options()
	o.Token = token
	_, base := start(t, o)
	for _, path := range []string{"/healthz", "/readyz"} {
		if resp, _ := ask(t, "GET", base+path, "Host: proxy.internal:8081"); resp.StatusCode != 200 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}

func TestWithoutATokenOnlyThisMachineIsAnswered(t *testing.T) {
	_, base := start(t, options())
	port := base[strings.LastIndex(base, ":"):]
	f := func(wantCode int, fields ...string) {
		t.Helper()
		for _, path := range []string{"/healthz", "/readyz", "/metrics", "/nothing"} {
			resp, body := ask(t, "GET", base+path, fields...)
			want := wantCode
			if path == "/nothing" && want == 200 {
				want = 404
			}
			if resp.StatusCode != want {
				t.Errorf("%s %q: %d, want %d", path, fields, resp.StatusCode, want)
			}
			if want == 403 && errorType(t, resp, body) != "jaegis_forbidden" {
				t.Errorf("%s %q: %s", path, fields, body)
			}
		}
	}
	f(200)
	f(200, "Host: localhost")
	f(200, "Host: LocalHost:8081")
	f(200, "Host: 127.0.0.1")
	f(200, "Host: 127.9.9.9:8081")
	f(200, "Host: [::1]:8081")
	f(200, "Host: [::1]")
	f(200, "Sec-Fetch-Site: none")
	f(200, "Sec-Fetch-Site: same-origin", "Origin: "+base)
	f(200, "Host: localhost"+port, "Origin: http://localhost"+port)

	f(403, "Host: evil.example")
	f(403, "Host: evil.example"+port)
	f(403, "Host: localhost.evil.example")
	f(403, "Host: 127.0.0.1.evil.example")
	f(403, "Host: 10.0.0.1")
	f(403, "Host: 0.0.0.0")
	f(403, "Host: 2130706433")
	f(403, "Host: [::2]")
	f(403, "Sec-Fetch-Site: cross-site")
	f(403, "Sec-Fetch-Site: same-site")
	f(403, "Origin: https://evil.example")
	f(403, "Origin: null")
	f(403, "Origin: http://localhost:3000")
	f(403, "Origin: "+base, "Origin: https://evil.example")
	f(403, "Sec-Fetch-Site: same-origin", "Origin: http://127.0.0.1:1")
}
