package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestSplitBatch(t *testing.T) {
	f := func(rule, body string, want ...string) {
		t.Helper()
		b, ok := SplitBatch(OpenAIEmbeddings, []byte(body))
		if ok != (len(want) > 0) {
			t.Errorf("%s: split is %v", rule, ok)
			return
		}
		if !ok {
			return
		}
		var got []string
		for i := range b.Len() {
			got = append(got, string(b.Item(i)))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", rule, got, want)
		}
	}
	f("a text", `{"model":"m","input":"x"}`, `{"model":"m","input":"x"}`)
	f("a list of one text is the same", `{"model":"m","input":["x"]}`, `{"model":"m","input":"x"}`)
	f("several texts, all else as it came", ` { "input" : [ "a" , "\u0062" ],"dimensions":1.0, "user":"ü"} `,
		` { "input" : "a","dimensions":1.0, "user":"ü"} `, ` { "input" : "\u0062","dimensions":1.0, "user":"ü"} `)
	f("a list of tokens is one item", `{"input":[1, 2,3]}`, `{"input":[1, 2,3]}`)
	f("a list of one list of tokens is the same", `{"input":[[1, 2,3]]}`, `{"input":[1, 2,3]}`)
	f("several lists of tokens", `{"input":[[1],[2,3]]}`, `{"input":[1]}`, `{"input":[2,3]}`)
	f("the same text twice is two items", `{"input":["a","a"]}`, `{"input":"a"}`, `{"input":"a"}`)
	f("an escaped name is the name", `{"inp\u0075t":"x"}`, `{"inp\u0075t":"x"}`)

	f("empty", ``)
	f("not JSON", `{"input":["a"]`)
	f("more behind it", `{"input":["a"]} x`)
	f("not an object", `["a"]`)
	f("no input", `{"model":"m"}`)
	f("two inputs", `{"input":"a","input":"b"}`)
	f("two inputs, one escaped", `{"input":"a","inp\u0075t":"b"}`)
	f("another name twice", `{"input":["a"],"model":"m","model":"n"}`)
	f("a name twice deep down", `{"input":["a"],"x":{"y":1,"y":2}}`)
	f("invalid UTF-8", "{\"input\":[\"\xff\"]}")
	f("an empty list", `{"input":[]}`)
	f("an empty text", `{"input":""}`)
	f("an empty text in a list", `{"input":["a",""]}`)
	f("an empty list of tokens", `{"input":[[1],[]]}`)
	f("texts and tokens", `{"input":["a",1]}`)
	f("texts and lists", `{"input":["a",[1]]}`)
	f("tokens and lists", `{"input":[1,[1]]}`)
	f("numbers that are no tokens", `{"input":[1.5]}`)
	f("null", `{"input":null}`)
	f("objects", `{"input":[{"text":"a"}]}`)
	f("lists of lists of lists", `{"input":[[[1]]]}`)
	f("too many", `{"input":[`+strings.Repeat(`"a",`, maxItems)+`"a"]}`)
	if b, ok := SplitBatch(OpenAIEmbeddings, []byte(`{"input":[`+strings.Repeat(`"a",`, maxItems-1)+`"a"]}`)); !ok || b.Len() != maxItems {
		t.Error("as many as there may be are not split")
	}
	if _, ok := SplitBatch(OpenAIChat, []byte(`{"input":["a"]}`)); ok {
		t.Error("another kind is split")
	}
}

func TestBatchRequest(t *testing.T) {
	body := []byte(` {"input": [ "a", "b" ,"c"],"model":"m"}`)
	b, ok := SplitBatch(OpenAIEmbeddings, body)
	if !ok {
		t.Fatal("not split")
	}
	f := func(want string, items ...int) {
		t.Helper()
		if got := string(b.Request(items)); got != want {
			t.Errorf("%v: got %s, want %s", items, got, want)
		}
	}
	f(string(body), 0, 1, 2)
	f(` {"input": ["b"],"model":"m"}`, 1)
	f(` {"input": ["c","a"],"model":"m"}`, 2, 0)
	tokens, ok := SplitBatch(OpenAIEmbeddings, []byte(`{"input":[[1],[2,3]]}`))
	if got := string(tokens.Request([]int{1})); !ok || got != `{"input":[[2,3]]}` {
		t.Errorf("one list of tokens is asked for with %s", got)
	}
	single, ok := SplitBatch(OpenAIEmbeddings, []byte(`{"input":"x"}`))
	if got := string(single.Request([]int{0})); !ok || got != `{"input":"x"}` {
		t.Errorf("what came is asked for with %s", got)
	}
}

func TestTakeVectors(t *testing.T) {
	b, ok := SplitBatch(OpenAIEmbeddings, []byte(`{"input":["a","b","c"]}`))
	if !ok {
		t.Fatal("not split")
	}
	f := func(rule, answer string, want ...string) {
		t.Helper()
		text := []byte(answer)
		vectors, err := b.Take([]int{2, 0}, text)
		clear(text) // the vectors do not refer to it
		if (err == nil) != (len(want) > 0) {
			t.Errorf("%s: error %v", rule, err)
			return
		}
		for i, w := range want {
			if got := vectors[i]; string(got.Embedding) != w || got.Model != "m" {
				t.Errorf("%s: vector %d is %s of %q", rule, i, got.Embedding, got.Model)
			}
		}
	}
	entry := func(index, vector string) string {
		return `{"object":"embedding","index":` + index + `,"embedding":` + vector + `}`
	}
	list := func(entries ...string) string { return `{"data":[` + strings.Join(entries, ",") + `],"model":"m"}` }
	f("in order", list(entry("0", "[1.50,-2e-3]"), entry("1", "[2]")), "[1.50,-2e-3]", "[2]")
	f("in another order", list(entry("1", "[2]"), entry("0", "[1]")), "[1]", "[2]")
	f("in base64", list(entry("0", `"AACAPw=="`), entry("1", `"AAAAQA=="`)), `"AACAPw=="`, `"AAAAQA=="`)
	f("one missing", list(entry("0", "[1]")))
	f("one twice", list(entry("0", "[1]"), entry("0", "[1]")))
	f("one twice beside all", list(entry("0", "[1]"), entry("1", "[2]"), entry("1", "[2]")))
	f("one too many", list(entry("0", "[1]"), entry("1", "[2]"), entry("2", "[3]")))
	f("an index below", list(entry("0", "[1]"), entry("-1", "[2]")))
	f("an index that is a text", list(entry("0", "[1]"), entry(`"1"`, "[2]")))
	f("no index", list(`{"embedding":[1]}`, entry("1", "[2]")))
	f("no vector", list(entry("0", "[1]"), `{"index":1}`))
	f("an empty vector", list(entry("0", "[]"), entry("1", "[2]")))
	f("an empty text", list(entry("0", `""`), entry("1", "[2]")))
	f("null", list(entry("0", "null"), entry("1", "[2]")))
	f("null in a vector", list(entry("0", "[1,null]"), entry("1", "[2]")))
	f("a vector of vectors", list(entry("0", "[[1]]"), entry("1", "[2]")))
	f("an error", `{"error":{"message":"x"}}`)
	f("an error beside all", `{"error":{"message":"x"},"data":[`+entry("0", "[1]")+","+entry("1", "[2]")+`]}`)
	f("cut", strings.TrimSuffix(list(entry("0", "[1]"), entry("1", "[2]")), "}"))
	f("more behind it", list(entry("0", "[1]"), entry("1", "[2]"))+"x")
	f("data twice", `{"data":[`+entry("0", "[1]")+`],"data":[`+entry("1", "[2]")+`]}`)
	f("nothing", ``)
}

func TestJoinVectors(t *testing.T) {
	b, ok := SplitBatch(OpenAIEmbeddings, []byte(`{"input":["a","b"]}`))
	if !ok {
		t.Fatal("not split")
	}
	v := func(embedding, model string) Vector { return Vector{Embedding: []byte(embedding), Model: model} }
	got := string(b.Join([]Vector{v("[1]", `m"`), v("[2]", `m"`)}, Usage{Known: true, Input: 7}))
	const want = `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1]},{"object":"embedding","index":1,"embedding":[2]}],` +
		`"model":"m\"","usage":{"prompt_tokens":7,"total_tokens":7}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for rule, vectors := range map[string][]Vector{
		"too few":               {v("[1]", "m")},
		"too many":              {v("[1]", "m"), v("[1]", "m"), v("[1]", "m")},
		"of two models":         {v("[1]", "m"), v("[1]", "n")},
		"in base64 and not":     {v("[1]", "m"), v(`"AAAA"`, "m")},
		"one that is not there": {v("[1]", "m"), {Model: "m"}},
	} {
		if a := b.Join(vectors, Usage{}); a != nil {
			t.Errorf("%s: %s", rule, a)
		}
	}
}

func TestTakeUsage(t *testing.T) {
	f := func(answer string, want Usage) {
		t.Helper()
		if got := TakeUsage([]byte(answer)); got != want {
			t.Errorf("%s: got %+v", answer, got)
		}
	}
	f(`{"data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}`, Usage{Known: true, Input: 8})
	f(`{"usage":{"prompt_tokens":0}}`, Usage{Known: true})
	f(`{"usage":{"prompt_tokens":-1}}`, Usage{})
	f(`{"usage":{"prompt_tokens":1e3}}`, Usage{})
	f(`{"data":[]}`, Usage{})
	f(`{"usage":{"prompt_tokens":8}`, Usage{})
}

// provider answers an embeddings request as the real one does: a vector is
// made from its input and the other members alone. It lists them in any order.
func provider(t testing.TB, random *rand.Rand, body []byte) []byte {
	t.Helper()
	var request map[string]json.RawMessage
	if err := json.Unmarshal(body, &request); err != nil {
		t.Fatalf("the provider cannot read %s: %v", body, err)
	}
	var items []json.RawMessage
	var tokens []int
	if json.Unmarshal(request["input"], &tokens) == nil || json.Unmarshal(request["input"], &items) != nil {
		items = []json.RawMessage{request["input"]}
	}
	data := make([]string, len(items))
	for i, item := range items {
		var value any
		if err := json.Unmarshal(item, &value); err != nil {
			t.Fatal(err)
		}
		h := fnv.New64a()
		fmt.Fprintf(h, "%s %s %#v", request["model"], request["dimensions"], value)
		vector := fmt.Sprintf("[%d.0,1e-05]", h.Sum64()%1000000)
		if string(request["encoding_format"]) == `"base64"` {
			vector = fmt.Sprintf("%q", fmt.Sprintf("AA%dA", h.Sum64()))
		}
		data[i] = fmt.Sprintf(`{"object":"embedding","embedding":%s,"index":%d}`, vector, i)
	}
	random.Shuffle(len(data), func(i, j int) { data[i], data[j] = data[j], data[i] })
	return fmt.Appendf(nil, `{"object":"list","data":[%s],"model":%s,"usage":{"prompt_tokens":%d,"total_tokens":%d}}`,
		strings.Join(data, ","), request["model"], len(items), len(items))
}

// throughCache answers a request from a cache of items, asking the provider
// once for each item that is missing.
func throughCache(t testing.TB, random *rand.Rand, cache map[string]Vector, b *Batch) []byte {
	t.Helper()
	var missing []int
	asked := map[string]bool{}
	for i := range b.Len() {
		key := string(b.Item(i))
		if _, hit := cache[key]; !hit && !asked[key] {
			asked[key] = true
			missing = append(missing, i)
		}
	}
	var used Usage
	if len(missing) > 0 {
		answer := provider(t, random, b.Request(missing))
		fresh, err := b.Take(missing, answer)
		if err != nil {
			t.Fatalf("Take(%v, %s): %v", missing, answer, err)
		}
		for n, i := range missing {
			cache[string(b.Item(i))] = fresh[n]
		}
		used = TakeUsage(answer)
		if used.Input != int64(len(missing)) {
			t.Fatalf("usage is %+v for %d items", used, len(missing))
		}
	}
	vectors := make([]Vector, b.Len())
	for i := range vectors {
		vectors[i] = cache[string(b.Item(i))]
	}
	return b.Join(vectors, used)
}

// vectorsOf gives an answer's vectors by their index.
func vectorsOf(t testing.TB, answer []byte) map[int]string {
	t.Helper()
	var a struct {
		Data []struct {
			Index     int
			Embedding json.RawMessage
		}
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		t.Fatalf("%s: %v", answer, err)
	}
	m := map[int]string{}
	for _, v := range a.Data {
		m[v.Index] = string(v.Embedding)
	}
	if len(m) != len(a.Data) {
		t.Fatalf("an index comes twice in %s", answer)
	}
	return m
}

// For any mix of cached and uncached items, duplicates included, the vectors
// are those of the direct call.
func TestBatchIsTheDirectCall(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	words := []string{`"a"`, `"b"`, `"\u0062"`, `"ab"`, `"[1]"`, `"1"`, `"ü \"x\","`, `" "`}
	tokens := []string{`[1]`, `[2]`, `[1,2]`, `[12]`, `[1, 2]`, `[0]`}
	cache := map[string]Vector{}
	for range 3000 {
		from := words
		if random.IntN(3) == 0 {
			from = tokens
		}
		list := make([]string, 1+random.IntN(6))
		for i := range list {
			list[i] = from[random.IntN(len(from))]
		}
		input := "[" + strings.Join(list, ", ") + "]"
		if len(list) == 1 && random.IntN(2) == 0 {
			input = list[0]
		}
		body := fmt.Appendf(nil, `{"model":"m%d","input":%s,"dimensions":%d,"encoding_format":%q}`,
			random.IntN(2), input, random.IntN(2), []string{"float", "base64"}[random.IntN(2)])
		came := bytes.Clone(body)
		b, ok := SplitBatch(OpenAIEmbeddings, body)
		if !ok {
			t.Fatalf("%s is not split", body)
		}
		got, want := vectorsOf(t, throughCache(t, random, cache, b)), vectorsOf(t, provider(t, random, body))
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%s:\n got %v\nwant %v", body, got, want)
		}
		if !bytes.Equal(body, came) {
			t.Fatal("the request was changed")
		}
		if random.IntN(100) == 0 {
			clear(cache)
		}
	}
}

func FuzzBatch(f *testing.F) {
	f.Add([]byte(`{"model":"m","input":["a","b","a"]}`), []byte(`{"data":[{"index":0,"embedding":[1]}],"model":"m"}`), uint64(5))
	f.Add([]byte(`{"input":[[1],[2,3]],"model":"x"}`), []byte(`{"data":[{"index":1,"embedding":"AA"},{"index":0,"embedding":"BB"}]}`), uint64(3))
	f.Fuzz(func(t *testing.T, body, answer []byte, pick uint64) {
		b, ok := SplitBatch(OpenAIEmbeddings, body)
		if !ok {
			return
		}
		if !json.Valid(body) {
			t.Fatalf("%q is split", body)
		}
		var items []int
		for i := range b.Len() {
			if pick>>(i%64)&1 == 1 {
				items = append(items, i)
			}
			one, ok := SplitBatch(OpenAIEmbeddings, b.Item(i))
			if !ok || one.Len() != 1 || !bytes.Equal(one.Item(0), b.Item(i)) {
				t.Fatalf("item %d of %s, %s, is not itself", i, body, b.Item(i))
			}
		}
		if len(items) == 0 {
			return
		}
		some, ok := SplitBatch(OpenAIEmbeddings, b.Request(items))
		if !ok || some.Len() != len(items) {
			t.Fatalf("%s: a request for %v is %s", body, items, b.Request(items))
		}
		for n, i := range items {
			if !bytes.Equal(some.Item(n), b.Item(i)) {
				t.Fatalf("%s: item %d is asked for as %s", body, i, some.Item(n))
			}
		}
		vectors, err := b.Take(items, answer)
		if err != nil {
			return
		}
		if joined := some.Join(vectors, TakeUsage(answer)); joined != nil {
			again, err := some.Take(seq(len(items)), joined)
			if err != nil || fmt.Sprint(again) != fmt.Sprint(vectors) {
				t.Fatalf("joined: %s (%v)", joined, err)
			}
		}
	})
}

func seq(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func BenchmarkSplitTakeJoin(b *testing.B) {
	const n = 100
	body := []byte(`{"model":"m","input":["` + strings.Repeat(`some words to embed","`, n-1) + `more"]}`)
	entries := make([]string, n)
	for i := range entries {
		entries[i] = fmt.Sprintf(`{"object":"embedding","index":%d,"embedding":%q}`, i, strings.Repeat("AAAA", 2048))
	}
	answer := []byte(`{"data":[` + strings.Join(entries, ",") + `],"model":"m"}`)
	b.SetBytes(int64(len(answer)))
	b.ReportAllocs()
	for b.Loop() {
		batch, ok := SplitBatch(OpenAIEmbeddings, body)
		if !ok {
			b.Fatal("not split")
		}
		vectors, err := batch.Take(seq(n), answer)
		if err != nil || batch.Join(vectors, Usage{}) == nil {
			b.Fatal(err)
		}
	}
}
