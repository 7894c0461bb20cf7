package main

import (
	"slices"
	"strings"
	"testing"
)

func TestAStreamThatAnSDKGivesUpIsPaidOnce(t *testing.T) {
	for api, stream := range map[string]string{"openai": "chat-stream", "anthropic": "stream"} {
		t.Run(api, func(t *testing.T) {
			t.Parallel()
			startSDK(t, api, api).givesUp(t, "abort", stream)
		})
	}
}

// givesUp has one scenario give up a stream in its middle, and then another ask
// for the same: at first while the rest of it is still on its way, then once
// more. Both get all of it, and the provider is asked once.
func (r *sdkRig) givesUp(t *testing.T, abort, whole string) {
	t.Helper()
	right := r.run(t, r.tap.URL, whole)
	direct := r.tap.taken()
	release := r.tap.hold(t, 3)
	r.begin(t, r.proxy.URL, abort)
	if given := r.rest(t); len(given) < 2 || len(given) > 4 || given[0] != right[0] {
		t.Fatalf("before it was given up: %q", given)
	}
	r.begin(t, r.proxy.URL, whole)
	first, ok := r.next(t) // and so it reads the held stream
	if !ok {
		t.Fatal("a late reader gets nothing")
	}
	release()
	sameLines(t, "joined", append([]string{first}, r.rest(t)...), right)
	sameLines(t, "from the cache", r.run(t, r.proxy.URL, whole), right)
	sameCalls(t, r.tap.taken(), direct)
}

func TestSDKsWithDifferentKeysShareNoAnswer(t *testing.T) {
	for _, api := range []string{"openai", "anthropic"} {
		t.Run(api, func(t *testing.T) {
			t.Parallel()
			r := startSDK(t, api, api)
			alice, bob := r.run(t, r.proxy.URL, "alice"), r.run(t, r.proxy.URL, "bob")
			if slices.Equal(alice, bob) {
				t.Errorf("both were given %q", alice)
			}
			calls := r.tap.taken()
			if len(calls) != 2 || !strings.Contains(calls[0].head, "key-of-alice") || !strings.Contains(calls[1].head, "key-of-bob") {
				t.Errorf("calls %q", calls)
			}
			for range 2 {
				sameLines(t, "bob's", r.run(t, r.proxy.URL, "bob"), bob)
				sameLines(t, "alice's", r.run(t, r.proxy.URL, "alice"), alice)
			}
			sameCalls(t, r.tap.taken(), nil)
		})
	}
}
