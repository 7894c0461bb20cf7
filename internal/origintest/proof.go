package origintest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Answer is what Proof answers with: it proves to which request it belongs, and
// that all of it is there.
type Answer struct {
	Hash    string `json:"hash"`    // of method, target and body
	Tenant  string `json:"tenant"`  // of the credential; see TenantHash
	Version int64  `json:"version"` // see Origin.SetVersion
	Call    int    `json:"call"`    // the origin's count of requests: two fetches never share it
	Length  int    `json:"length"`  // of Pad
	Pad     string `json:"pad"`     // made from Hash
}

// Proof answers with an Answer as JSON. The query says its form: pad=N pads it
// by N bytes, chunk=N sends it in chunks of N bytes.
func Proof(w *Wire, r *Request, version int64) {
	hash := RequestHash(r.Method, r.Target, r.Body)
	credential := r.Value("Authorization")
	if credential == "" {
		credential = r.Value("X-Api-Key")
	}
	query, _ := url.ParseQuery(r.Query) // what cannot be read asks for nothing
	length := number(query, "pad")
	body, err := json.Marshal(Answer{
		Hash: hash, Tenant: TenantHash(credential), Version: version,
		Call: r.Call, Length: length, Pad: pad(hash, length),
	})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	reply := Reply{Fields: []string{"Content-Type: application/json"}}
	if size := number(query, "chunk"); size > 0 {
		reply.Chunked = true
		for len(body) > size {
			reply.Pieces = append(reply.Pieces, string(body[:size]))
			body = body[size:]
		}
	}
	reply.Pieces = append(reply.Pieces, string(body))
	reply.Serve(w, r)
}

// VerifyProof says whether answer is Proof's whole answer to this very request:
// target is the path and query as the origin saw them, credential the value of
// Authorization or else of X-Api-Key. It returns the answer for further checks.
func VerifyProof(method, target, credential string, body, answer []byte) (Answer, error) {
	var a Answer
	if err := json.Unmarshal(answer, &a); err != nil {
		return a, fmt.Errorf("not a whole proof: %w in %.200q", err, answer)
	}
	if want := RequestHash(method, target, body); a.Hash != want {
		return a, fmt.Errorf("answer of another request: hash %.12s, want %.12s", a.Hash, want)
	}
	if want := TenantHash(credential); a.Tenant != want {
		return a, fmt.Errorf("answer of another tenant: %.12s, want %.12s", a.Tenant, want)
	}
	if a.Length != len(a.Pad) || a.Pad != pad(a.Hash, a.Length) {
		return a, errors.New("padding is not as it was sent")
	}
	_, rawQuery, _ := strings.Cut(target, "?")
	query, _ := url.ParseQuery(rawQuery)
	if want := number(query, "pad"); a.Length != want {
		return a, fmt.Errorf("padding of %d bytes, want %d", a.Length, want)
	}
	return a, nil
}

// RequestHash is the hex SHA-256 over a request's length-prefixed method,
// target and body.
func RequestHash(method, target string, body []byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s%d:%s%d:", len(method), method, len(target), target, len(body))
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// TenantHash is the hex SHA-256 of a credential, or "" when there is none.
func TenantHash(credential string) string {
	if credential == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(credential))
	return hex.EncodeToString(sum[:])
}

// number reads a count from a query; 0 when it is absent or not a sane one.
func number(query url.Values, name string) int {
	n, err := strconv.Atoi(query.Get(name))
	if err != nil || n < 0 || n > 1<<30 {
		return 0
	}
	return n
}

func pad(hash string, n int) string {
	return strings.Repeat(hash, n/len(hash)+1)[:n]
}
