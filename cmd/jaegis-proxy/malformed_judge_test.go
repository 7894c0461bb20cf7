package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"jaegis-proxy/internal/origintest"
)

// The rule for malformed requests is itself tested: an exchange that breaks it
// in any way is found out.
func TestAnExchangeThatBreaksTheRuleIsFound(t *testing.T) {
	ask := func(path, body, credential string) *origintest.Request {
		r := &origintest.Request{Method: "POST", Target: path, Body: []byte(body)}
		if credential != "" {
			r.Fields = []origintest.Field{{Name: "Authorization", Value: credential}}
		}
		return r
	}
	proof := func(r *origintest.Request) *reply {
		body, err := json.Marshal(origintest.Answer{
			Hash: origintest.RequestHash(r.Method, r.Target, r.Body), Tenant: origintest.TenantHash(r.Value("Authorization")),
		})
		if err != nil {
			t.Fatal(err)
		}
		return &reply{StatusCode: 200, Body: body}
	}
	ends := func(r *reply) *reply { r.Close = true; return r }
	no := func() *reply { return &reply{StatusCode: 400} }
	broken := &origintest.Request{Fault: "bare LF"}
	a, b := ask("/a", "hello", "one"), ask("/b", "next", "")
	type requests = []*origintest.Request
	type replies = []*reply

	f := func(want string, x exchange) {
		t.Helper()
		got := x.fault()
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("fault %q, want %q", got, want)
		}
	}
	f("", exchange{framed: requests{a, b}, answers: replies{proof(a), ends(proof(b))}, arrived: requests{a, b}, closed: true})
	f("", exchange{framed: requests{a, b}, answers: replies{ends(proof(a))}, arrived: requests{a}, closed: true})
	f("", exchange{framed: requests{a, b}, answers: replies{no()}, closed: true})
	f("", exchange{framed: requests{a, broken}, answers: replies{proof(a), no()}, arrived: requests{a}, closed: true})
	f("", exchange{framed: requests{broken}, answers: replies{no()}, closed: true})

	f("to no request that can be read", exchange{framed: requests{broken}, answers: replies{proof(a)}, arrived: requests{a}, closed: true})
	f("to no request that can be read", exchange{framed: requests{a}, answers: replies{proof(a), proof(b)}, arrived: requests{a, b}, closed: true})
	f("answer of another request", exchange{framed: requests{a, b}, answers: replies{proof(b), proof(a)}, arrived: requests{a, b}, closed: true})
	f("answer of another tenant", exchange{framed: requests{a}, answers: replies{proof(ask("/a", "hello", "two"))}, arrived: requests{a}, closed: true})
	f("status 200, cut", exchange{framed: requests{a}, answers: replies{{StatusCode: 200, Err: errors.New("cut")}}, arrived: requests{a}, closed: true})
	f("status 304", exchange{framed: requests{a}, answers: replies{{StatusCode: 304}}, arrived: requests{a}, closed: true})
	f("0 requests were answered, 1 reached", exchange{framed: requests{a}, answers: replies{no()}, arrived: requests{a}, closed: true})
	f("1 requests were answered, 2 reached", exchange{framed: requests{a, b}, answers: replies{ends(proof(a))}, arrived: requests{a, b}, closed: true})
	f("1 requests were answered, 0 reached", exchange{framed: requests{a}, answers: replies{proof(a)}, closed: true})
	f("not well-formed at the origin", exchange{framed: requests{a}, answers: replies{proof(a)}, arrived: requests{broken}, closed: true})
	f(`with "hello" became POST /a with "hell"`, exchange{framed: requests{a}, answers: replies{proof(a)}, arrived: requests{ask("/a", "hell", "one")}, closed: true})
	f(`Authorization ["one"] became ["two"]`, exchange{framed: requests{a}, answers: replies{proof(a)}, arrived: requests{ask("/a", "hello", "two")}, closed: true})
	f("behind the last answer", exchange{framed: requests{a, b}, answers: replies{no()}, rest: "HTTP/1.1 200 OK", closed: true})
	f("was not closed", exchange{framed: requests{a, b}, answers: replies{no()}})
	f("without a word after 1", exchange{framed: requests{a, b}, answers: replies{proof(a)}, arrived: requests{a}, closed: true})
	f("without a word after 0", exchange{framed: requests{broken}, closed: true})

	hop := ask("/b", "next", "")
	hop.Fields = []origintest.Field{{Name: "Upgrade", Value: "h2c"}}
	f("was passed on", exchange{framed: requests{b}, answers: replies{proof(b)}, arrived: requests{hop}, closed: true})
}

// What the strict reader makes of bytes is what the rule is about.
func TestTheStrictReaderTellsRequestsApart(t *testing.T) {
	judge := origintest.New(t)
	f := func(raw string, want ...string) {
		t.Helper()
		framed, err := readStrictly(judge, raw)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range framed {
			if r.Fault != "" {
				got = append(got, "fault")
				continue
			}
			got = append(got, r.Target+" "+string(r.Body))
		}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
	}
	next := strings.ReplaceAll(cleanNext, "PATH", "")
	last := strings.ReplaceAll(cleanLast, "PATH", "")
	f("")
	f(next+last, "/next next", "/last last")
	f("\r\n"+next+"\r\n\r\n"+last+"\r\n", "/next next", "/last last")
	f("\n"+next, "fault")
	f(next+":"+last, "/next next", "fault")
	f(strings.Replace(next, ": 4", ": 500", 1)+last, "fault")
	f(strings.Replace(next, "POST", "PO\x00ST", 1)+last, "fault")
}
