package cachekey

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// workedExample is the request that docs/keys.md follows through.
func workedExample(t *testing.T) (*Deriver, *Rule, *Request) {
	rule := prepare(t, Rule{
		Namespace:   "ai_responses",
		Provider:    "openai",
		Ignore:      []string{"/user"},
		Headers:     []string{"Accept"},
		QueryIgnore: []string{"trace"},
	})
	w := wire{
		method: "POST", upstream: "https://api.openai.com", path: "/v1/chat/completions", query: "trace=77&v=1",
		body: `{"model": "m", "user": "u-9", "temperature": 1.0}`,
	}.with("Content-Type: application/json; charset=utf-8", "Accept: application/json", "Authorization: Bearer sk-1")
	return &Deriver{Secret: []byte("secret")}, rule, w.request()
}

func TestWorkedExampleInTheDocumentsIsTrue(t *testing.T) {
	d, rule, req := workedExample(t)
	text, err := os.ReadFile("../docs/keys.md")
	if err != nil {
		t.Fatal(err)
	}
	key := mustDerive(t, d, rule, req)
	if !strings.Contains(string(text), key.String()) {
		t.Errorf("docs/keys.md does not have the key %s", key)
	}
	if sha256.Sum256(tableFields(t, string(text))) != key.Digest {
		parts, _ := d.Explain(rule, req)
		t.Errorf("the table in docs/keys.md does not come to the digest; the fields are %+v", parts)
	}
	body := sha256.Sum256([]byte(`{"model":"m","temperature":1.0}`))
	if !strings.Contains(string(text), fmt.Sprintf("%x", body)) {
		t.Errorf("docs/keys.md does not have the body digest %x", body)
	}
}

var row = regexp.MustCompile("(?m)^\\| (\\d+) \\| ([^|]+) \\| (\\d+) \\| `?([^`|]*)`? \\|$")

// tableFields encodes the rows of the table by what the text says of fields,
// not by the code.
func tableFields(t *testing.T, text string) []byte {
	var fields []byte
	for _, cells := range row.FindAllStringSubmatch(text, -1) {
		number, _ := strconv.Atoi(cells[1])
		length, _ := strconv.Atoi(cells[3])
		value := []byte(cells[4])
		if name := tag(number).String(); name != cells[2] {
			t.Errorf("row %q: field %d is %s", cells[0], number, name)
		}
		if digits, ok := strings.CutPrefix(cells[4], "hex:"); ok {
			var err error
			if value, err = hex.DecodeString(digits); err != nil {
				t.Fatal(err)
			}
		}
		if len(value) != length {
			t.Errorf("row %q: value of %d bytes", cells[0], len(value))
		}
		fields = append(fields, byte(number))
		fields = binary.AppendUvarint(fields, uint64(length))
		fields = append(fields, value...)
	}
	return fields
}
