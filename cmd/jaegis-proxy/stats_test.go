package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"jaegis-proxy/admin"
	"jaegis-proxy/proxy"
)

// someStats are those of a proxy that did a little of everything.
func someStats() proxy.Stats {
	gpt := proxy.Tally{Requests: 12, TokensIn: 3400, TokensOut: 560, Seconds: 75.4, Money: .0141}
	return proxy.Stats{
		Currency: "EUR",
		Routes: []proxy.RouteStats{
			{Counts: proxy.Counts{Requests: 1}, Outcomes: map[string]int64{"error": 1}},
			{
				Route: "chat", Counts: proxy.Counts{Requests: 20, Hits: 12, Misses: 4, HitRatio: .75},
				Outcomes: map[string]int64{"hit": 12, "miss": 4, "bypass": 4}, NotStored: map[string]int64{"length": 1, "status": 2},
			},
		},
		Savings: []proxy.Saving{
			{Route: "chat", Model: "gpt-4o", Tenant: "red", Spent: proxy.Tally{Requests: 4, Money: .005}, Saved: gpt},
			{Route: "docs", Saved: proxy.Tally{Requests: 1, Seconds: .25}},
			{Route: "chat", Model: "new\x1b[2J", Saved: proxy.Tally{Requests: 1, TokensIn: 7, TokensUnpriced: 7}},
		},
		Total: proxy.Total{
			Counts: proxy.Counts{Requests: 21, Hits: 12, Misses: 4, HitRatio: .75},
			Saved:  proxy.Tally{Requests: 14, TokensIn: 3407, TokensOut: 560, TokensUnpriced: 7, Seconds: 75.65, Money: .0141},
			Spent:  proxy.Tally{Requests: 4, Money: .005},
		},
	}
}

// adminSide is a real admin listener that answers with st.
func adminSide(t *testing.T, token string, st any) (url string) {
	t.Helper()
	s := httptest.NewServer(admin.New(admin.Options{
		Token: token, Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
		Health: func() admin.Health { return admin.Health{Ready: true} }, Stats: func() any { return st },
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func runStats(environ []string, args ...string) outcome {
	var out, errs bytes.Buffer
	code := dispatch(context.Background(), []command{cmdStats()}, append([]string{"stats"}, args...), stdio{strings.NewReader(""), &out, &errs, environ})
	return outcome{code, out.String(), errs.String()}
}

// lines are those of a table, with the space between columns made one.
func lines(table string) (all []string) {
	for line := range strings.Lines(table) {
		all = append(all, strings.Join(strings.Fields(line), " "))
	}
	return all
}

func TestStatsAreTablesForPeople(t *testing.T) {
	got := runStats(nil, "--admin", adminSide(t, "", someStats()))
	want := `ROUTE REQUESTS HITS MISSES HIT RATIO OUTCOMES NOT STORED
(no route) 1 0 0 - error 1
chat 20 12 4 75.0% hit 12, bypass 4, miss 4 status 2, length 1
all 21 12 4 75.0%

ROUTE MODEL TENANT ANSWERS SAVED TOKENS IN SAVED TOKENS OUT SAVED TIME SAVED EUR SAVED EUR SPENT
chat gpt-4o red 12 3400 560 1m15s 0.0141 0.0050
docs - - 1 0 0 250ms 0.0000 0.0000
chat new_[2J - 1 7 0 0s ? 0.0000
all 14 3407 560 1m16s 0.0141 0.0050

The money leaves out tokens of models that had no price: 7 saved, 0 spent.`
	if flat := strings.Join(lines(got.out), "\n"); got.code != exitOK || got.err != "" || flat != want {
		t.Errorf("%d %s\n%s\nwant\n%s", got.code, got.err, flat, want)
	}
}

func TestStatsOfANewProxyAreNoError(t *testing.T) {
	got := runStats(nil, "--admin", adminSide(t, "", proxy.Stats{Routes: []proxy.RouteStats{}}))
	if want := "ROUTE REQUESTS HITS MISSES HIT RATIO OUTCOMES NOT STORED\nall 0 0 0 -"; got.code != exitOK || strings.Join(lines(got.out), "\n") != want {
		t.Errorf("%+v", got)
	}
}

func TestStatsAsJSONAreTheAnswerAsItIs(t *testing.T) {
	got := runStats(nil, "--json", "--admin", adminSide(t, "", map[string]int{"of_another_version": 1}))
	if want := (outcome{exitOK, "{\"of_another_version\":1}\n", ""}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTheTokenComesFromTheFlagOrTheEnvironment(t *testing.T) {
	url := adminSide(t, "s3cret", proxy.Stats{Routes: []proxy.RouteStats{}})
	f := func(environ []string, wantErr string, args ...string) {
		t.Helper()
		got := runStats(environ, append(args, "--admin", url)...)
		if wantErr == "" && (got.code != exitOK || got.err != "") || wantErr != "" && (got.code != exitFailure || !strings.Contains(got.err, wantErr) || got.out != "") {
			t.Errorf("%q %q: %+v, want %q", environ, args, got, wantErr)
		}
		if strings.Contains(got.err, "s3cret") || strings.Contains(got.err, "wrong-one") {
			t.Errorf("a token is printed: %s", got.err)
		}
	}
	f(nil, "set JAEGIS_ADMIN_TOKEN")
	f([]string{"JAEGIS_ADMIN_TOKEN=s3cret"}, "")
	f([]string{"JAEGIS_ADMIN_TOKEN=s3cret\n"}, "")
	f([]string{"JAEGIS_ADMIN_TOKEN=wrong-one"}, "does not take this admin token")
	f([]string{"JAEGIS_ADMIN_TOKEN=wrong-one"}, "", "--token", "s3cret")
	f(nil, "does not take this admin token", "--token", "wrong-one")
	f(nil, "no answer", "--token", "wrong-one\nX: y")
}

func TestTheAdminListenerIsFoundByTheEnvironmentToo(t *testing.T) {
	url := adminSide(t, "", proxy.Stats{Routes: []proxy.RouteStats{}})
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	f := func(environ []string, args ...string) {
		t.Helper()
		if got := runStats(environ, args...); got.code != exitOK {
			t.Errorf("%q %q: %+v", environ, args, got)
		}
	}
	f([]string{"JAEGIS_ADMIN_LISTEN=127.0.0.1:" + port})
	f([]string{"JAEGIS_ADMIN_LISTEN=0.0.0.0:" + port})
	f([]string{"JAEGIS_ADMIN_LISTEN=:" + port})
	f([]string{"JAEGIS_ADMIN_LISTEN=[::]:" + port})
	f([]string{"JAEGIS_ADMIN_LISTEN=127.0.0.1:1"}, "--admin", "127.0.0.1:"+port)
	f([]string{"HTTP_PROXY=http://127.0.0.1:1"}, "--admin", url+"/")

	for listen, want := range map[string]string{"": "http://127.0.0.1:8081", "[::1]:9": "http://[::1]:9", "10.0.0.1:9": "http://10.0.0.1:9"} {
		if got := listenURL(listen); got != want {
			t.Errorf("%q: %s, want %s", listen, got, want)
		}
	}
}

func TestWhatIsNotAnAdminListenerIsAClearError(t *testing.T) {
	answering := func(h http.HandlerFunc) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	f := func(url, want string) {
		t.Helper()
		got := runStats(nil, "--admin", url)
		if got.code != exitFailure || got.out != "" || !strings.Contains(got.err, want) || strings.Count(got.err, "\n") != 1 {
			t.Errorf("%s: %+v, want %q", url, got, want)
		}
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := gone.Addr().String()
	gone.Close()
	f("http://"+nobody, "is the proxy running")

	const stranger = "is not the admin listener"
	f(answering(http.NotFound), stranger)
	f(answering(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }), stranger)
	f(answering(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"object":"list"}`)) }), stranger)
	f(answering(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("[1]")) }), stranger)
	f(answering(http.RedirectHandler(adminSide(t, "", someStats())+"/api/v1/stats", http.StatusFound).ServeHTTP), stranger)
	f(answering(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"error":{"type":"jaegis_over_capacity","message":"too\u001b[2J many"}}`))
	}), "refused: too_[2J many (503 Service Unavailable)")
	f(answering(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte(`{`))
	}), "broke off")
}

func TestAnAdminURLThatCannotBeExitsWith2(t *testing.T) {
	for _, url := range []string{"ftp://x", "http://", "http://user:hunter2@h:1", "http://h:1/?a=b", "http://h:1/#f", "http://h:port", "\x7f"} {
		got := runStats(nil, "--admin", url)
		if got.code != exitUsage || got.out != "" || !strings.Contains(got.err, "write http://HOST:PORT") || strings.Contains(got.err, "hunter2") {
			t.Errorf("%q: %+v", url, got)
		}
	}
}
