package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"jaegis-proxy/store"
)

// post sends a body and gives the status and the answer.
func post(t *testing.T, url, body string) (*http.Response, string) {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(answer)
}

const aKey = "jaegis:documents:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestAPurgeIsByOneThing(t *testing.T) {
	var label string
	var soft bool
	o := options()
	o.Purge = func(_ context.Context, l string, s bool) error { label, soft = l, s; return nil }
	_, base := start(t, o)
	f := func(body, wantLabel string, wantSoft bool, wantAnswer string) {
		t.Helper()
		label, soft = "", false
		resp, answer := post(t, base+"/api/v1/purge", body)
		if resp.StatusCode != 200 || label != wantLabel || soft != wantSoft || answer != wantAnswer+"\n" {
			t.Errorf("%s: %d %s, purged %q, soft %v", body, resp.StatusCode, answer, label, soft)
		}
	}
	f(`{"namespace":"documents"}`, "namespace:documents", false, `{"purged":{"namespace":"documents"},"soft":false}`)
	f(`{"route":"convert","soft":true}`, "route:convert", true, `{"purged":{"route":"convert"},"soft":true}`)
	f(` {"tag":"a b:c"} `, "tag:a b:c", false, `{"purged":{"tag":"a b:c"},"soft":false}`)
	f(`{"tenant":"x"}`, "tenant:x", false, `{"purged":{"tenant":"x"},"soft":false}`)
	f(`{"model":"m"}`, "model:m", false, `{"purged":{"model":"m"},"soft":false}`)
	f(`{"all":true}`, "all", false, `{"purged":{"all":true},"soft":false}`)
	f(`{"key":"`+aKey+`"}`, "key:"+aKey, false, `{"purged":{"key":"`+aKey+`"},"soft":false}`)

	resp, answer := ask(t, "DELETE", base+"/api/v1/cache/"+aKey)
	if resp.StatusCode != 200 || label != "key:"+aKey || answer != `{"purged":{"key":"`+aKey+`"},"soft":false}`+"\n" {
		t.Errorf("DELETE: %d %s", resp.StatusCode, answer)
	}

	bad := func(body string) {
		t.Helper()
		label = ""
		resp, answer := post(t, base+"/api/v1/purge", body)
		if resp.StatusCode != 400 || errorType(t, resp, answer) != "jaegis_bad_request" || label != "" {
			t.Errorf("%s: %d %s, purged %q", body, resp.StatusCode, answer, label)
		}
	}
	for _, body := range []string{
		``, `x`, `null`, `[]`, `"all"`, `{}`, `{"all":false}`, `{"soft":true}`, `{"tag":""}`, `{"tag":"a","route":"b"}`, `{"all":true,"tag":"a"}`,
		`{"tags":["a"]}`, `{"tag":1}`, `{"all":"true"}`, `{"tag":"a"}{"tag":"b"}`, `{"key":"x"}`, `{"tag":"a"`,
	} {
		bad(body)
	}
	if resp, answer := ask(t, "DELETE", base+"/api/v1/cache/x"); resp.StatusCode != 400 || errorType(t, resp, answer) != "jaegis_bad_request" {
		t.Errorf("%d %s", resp.StatusCode, answer)
	}
	if resp, _ := post(t, base+"/api/v1/purge", `{"tag":"`+strings.Repeat("x", maxPurge)+`"}`); resp.StatusCode != 413 {
		t.Errorf("too large: %d", resp.StatusCode)
	}
}

func TestAPurgeThatIsNotInTheLedgerIsNotAcknowledged(t *testing.T) {
	f := func(err error, want string) {
		t.Helper()
		o := options()
		o.Purge = func(context.Context, string, bool) error { return err }
		_, base := start(t, o)
		resp, answer := post(t, base+"/api/v1/purge", `{"all":true}`)
		if resp.StatusCode != 503 || errorType(t, resp, answer) != "jaegis_not_purged" || !strings.Contains(answer, want) {
			t.Errorf("%d %s", resp.StatusCode, answer)
		}
	}
	f(errors.Join(errors.New("redis is away"), errors.New("redis-x too")), "ask again until it is: redis is away; redis-x too")
	f(fmt.Errorf("redis: %w", store.ErrUnconfirmed), "in force where processes are connected, but a failover of Redis would undo it; bring a replica back")
}

func TestPurgesNeedTheToken(t *testing.T) {
	o := options()
	o.Token = token
	o.Purge = func(context.Context, string, bool) error { t.Error("purged"); return nil }
	_, base := start(t, o)
	if resp, answer := post(t, base+"/api/v1/purge", `{"all":true}`); resp.StatusCode != 401 || errorType(t, resp, answer) != "jaegis_unauthorized" {
		t.Errorf("%d %s", resp.StatusCode, answer)
	}
	if resp, _ := ask(t, "DELETE", base+"/api/v1/cache/"+aKey); resp.StatusCode != 401 {
		t.Errorf("%d", resp.StatusCode)
	}
}
