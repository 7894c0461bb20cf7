package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"jaegis-proxy/internal/origintest"
)

// The tests in proof_*_test.go ask whether two requests may share an answer.
// The origin answers with a proof of what it saw and with the number of the
// call, so that no answer can pass for another one's.
//
// The cases of one list, and where they are:
//
//	24 values moved from one field to the next, input like a digest  proof_key
//	25 JSON and forms that some readers take for each other          proof_key
//	26 members that nobody knows                                     proof_key
//	27 multipart bodies and their boundaries                         proof_multipart
//	28 fields in which a client says where it came from              proof_header
//	29 repeated credentials and content types                        proof_header
//	30 a GET with a body, a method in a field                        proof_header, proof_key
//	31 a query with ";"                                              proof_key
//	32 errors that one client provokes                               proof_header
//	33 paths that end like a style sheet                             proof_answer
//	34 Accept-Encoding that nobody can read                          proof_answer
//	35 a first answer that is for one caller alone                   proof_answer, and TestAnAnswerForOneCallerIsGivenToNoOther
//	36 ranges                                                        proof_range

// proofRoutes caches what is below /c/ for each credential, what is below
// /public/ for everybody, and the rest by the rules of HTTP.
const proofRoutes = `
upstreams: {origin: {url: ORIGIN}}
routes:
  - {name: cached, match: {path: /c/*}, ttl: 1h, key: {headers: [X-A, X-B], query: {ignore: [trace]}}}
  - {name: public, match: {path: /public/*}, ttl: 1h, scope: public}
`

// asked is a request, its fields given as lines.
type asked struct {
	method, target string
	fields         []string
	body           string
}

func (a asked) raw() string {
	if a.body == "" && a.method == http.MethodGet {
		return get(a.target, a.fields...)
	}
	return send(a.method, a.target, a.body, a.fields...)
}

func (a asked) String() string { return fmt.Sprintf("%.400q", a.raw()) }

// credential is what an origin takes for the caller's name.
func (a asked) credential() string {
	for _, name := range []string{"Authorization: ", "X-Api-Key: "} {
		for _, f := range a.fields {
			if v, ok := strings.CutPrefix(f, name); ok {
				return v
			}
		}
	}
	return ""
}

// posts gives a POST of body to target for each list of fields.
func posts(target, body string, lists ...[]string) (all []asked) {
	for _, fields := range lists {
		all = append(all, asked{http.MethodPost, target, fields, body})
	}
	return all
}

// bodies gives a POST of each body to target, as contentType.
func bodies(target, contentType string, all ...string) (asks []asked) {
	for _, body := range all {
		asks = append(asks, asked{http.MethodPost, target, []string{"Content-Type: " + contentType}, body})
	}
	return asks
}

// gets gives a GET of each target.
func gets(targets ...string) (all []asked) {
	for _, target := range targets {
		all = append(all, asked{method: http.MethodGet, target: target})
	}
	return all
}

// stored asks until the answer comes from the cache, and gives the call that
// it was made by.
func (r *rig) stored(t *testing.T, a asked) int {
	t.Helper()
	return callOf(t, a, r.untilX(t, a.raw(), "HIT"))
}

// callOf is the call that an answer was made by.
func callOf(t *testing.T, a asked, got *reply) int {
	t.Helper()
	var answer origintest.Answer
	if got.StatusCode != http.StatusOK || got.Err != nil || json.Unmarshal(got.Body, &answer) != nil {
		t.Fatalf("%s: status %d, %v, body %.300q", a, got.StatusCode, got.Err, got.Body)
	}
	return answer.Call
}

// apart fails the test unless each of the requests is kept, and given its own
// answer however many of the others are there.
func (r *rig) apart(t *testing.T, asks ...asked) {
	t.Helper()
	calls := map[int]asked{}
	own := make([]int, len(asks))
	for i, a := range asks {
		got := r.untilX(t, a.raw(), "HIT")
		got.proof(t, a.method, a.target, a.credential(), a.body)
		own[i] = callOf(t, a, got)
		if other, ok := calls[own[i]]; ok {
			t.Errorf("%s\nwas given the answer of\n%s", a, other)
		}
		calls[own[i]] = a
	}
	for i, a := range asks {
		if got := r.whole(t, a.raw()); got.xCache() != "HIT" || callOf(t, a, got) != own[i] {
			t.Errorf("%s: in the end call %d, %s; before it was %d", a, callOf(t, a, got), got.status(), own[i])
		}
	}
}

// together fails the test unless the answer to the first is given to all.
func (r *rig) together(t *testing.T, asks ...asked) {
	t.Helper()
	first := r.stored(t, asks[0])
	for _, a := range asks[1:] {
		if got := r.whole(t, a.raw()); got.xCache() != "HIT" || callOf(t, a, got) != first {
			t.Errorf("%s\nis not answered as\n%s\nbut with %s", a, asks[0], got.status())
		}
	}
}

// proven answers as origintest.Proof does, and says that the answer may be kept.
func proven(w *origintest.Wire, r *origintest.Request) {
	answer, err := json.Marshal(origintest.Answer{Hash: origintest.RequestHash(r.Method, r.Target, r.Body), Call: r.Call})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	origintest.Reply{Fields: []string{"Cache-Control: max-age=3600"}, Pieces: []string{string(answer)}}.Serve(w, r)
}

// mirror answers with all that it saw, and says that this may be kept.
func mirror(w *origintest.Wire, r *origintest.Request) {
	origintest.Reply{Fields: []string{"Cache-Control: max-age=3600"}, Pieces: []string{string(r.Head), string(r.Body)}}.Serve(w, r)
}

// concat joins lists of requests.
func concat(lists ...[]asked) []asked { return slices.Concat(lists...) }
