package config

import "testing"

func TestConditionsOnAnswersAreChecked(t *testing.T) {
	f := func(route, want string) {
		t.Helper()
		text := docs + "routes:\n- {name: r, namespace: builds, " + route + "}\n"
		if want == "" {
			mustLoad(t, text)
			return
		}
		mustFail(t, text, nil, "proxy.yaml:3: routes[0]."+want)
	}
	f("store_when: [{status: [200, 203]}, {header: X-Job-State, in: [done]}, {json: /status, not_in: [processing, queued]}]", "")
	f("store_when: [{json: /a/b~1c, exists: true, not_in: [x]}, {json: /error, exists: false}, {header: X-A, equals: true}]", "")
	f("freshness: origin, store_when: [{status: [202]}]", "")
	f("store_when: [{}]", "store_when[0]: names 0 of status, header and json; write one of them in each condition; all conditions must hold")
	f("store_when: [{status: [200], json: /a, in: [b]}]", "store_when[0]: names 2 of status, header and json; write one of them in each condition; all conditions must hold")
	f("store_when: [{json: /a}]", "store_when[0]: says nothing of the value; write equals, in, not_in or exists")
	f("store_when: [{json: /a, in: []}]", "store_when[0]: says nothing of the value; write equals, in, not_in or exists")
	f("store_when: [{json: a, in: [b]}]", `store_when[0].json: "a" is not a JSON pointer; begin it with /, such as /stream`)
	f("store_when: [{header: 'a b', in: [b]}]", `store_when[0].header: "a b" is not a header name`)
	f("store_when: [{json: /a, in: [b], equals: c}]", "store_when[0]: has both equals and in; write in alone")
	f("store_when: [{json: /a, in: [b], exists: false}]", "store_when[0]: compares a value that must not be there; write exists: false alone")
	f("store_when: [{status: [200], in: [b]}]", "store_when[0]: compares a status by other than a list; write status: [200, 203], and nothing else beside it")
	f("store_when: [{status: [202]}]", "store_when[0].status[0]: 202 is never stored with freshness: route; there are 200, 203, 204, 301, 308")
	f("store_when: [{status: [20]}]", `store_when[0].status[0]: "20" is no final status; write a number from 200 to 599`)
	f("store_when: [{json: /a, exists: maybe}]", `store_when[0].exists: "maybe": not a yes or no; write true or false`)
	f("cache: false, store_when: [{status: [200]}]", "store_when: contradicts cache: false, where nothing is stored; leave one of them out")
	f("protocol: openai-chat, store_when: [{status: [200]}]", "store_when: contradicts protocol: openai-chat, whose answers are judged by its gates; leave it out, or write protocol: none")

	f("expiry: {signed_links: false, members: no, json: [/a/until]}", "")
	f("expiry: {json: [until]}", `expiry.json[0]: "until" is not a JSON pointer; begin it with /, such as /stream`)
	f("protocol: ollama, expiry: {json: [/a]}", "expiry.json: contradicts protocol: ollama, whose answers are read by its own rules alone; leave it out, or write protocol: none")

	f("tags: {json: [/customer/id, 'case:/case'], request_json: [/customer], headers: [X-Case]}", "")
	f("protocol: ollama, tags: {request_json: [/customer], headers: [X-Case]}", "")
	f("tags: {json: [customer]}", `tags.json[0]: "customer" has no JSON pointer; write /customer/id, or customer:/customer/id to have customer: put before the value`)
	f("tags: {request_json: [/a~]}", `tags.request_json[0]: "/a~" is not a JSON pointer; write ~ as ~0, and a / within a name as ~1`)
	f("tags: {headers: ['a b']}", `tags.headers[0]: "a b" is not a header name`)
	f("protocol: ollama, tags: {json: [/a]}", "tags.json: contradicts protocol: ollama, whose answers are read by its own rules alone; leave it out, or write protocol: none; request_json and headers can stay")
}

func TestConditionsAreReadPrintedAndSetByVariables(t *testing.T) {
	cfg := mustLoad(t, docs+"routes:\n- name: r\n  namespace: builds\n  store_when:\n  - {status: [200]}\n  - {json: /a, not_in: [b, c]}\n  - {json: /d, exists: false}\n",
		"JAEGIS_ROUTES_R_STORE_WHEN_1_NOT_IN=x", "JAEGIS_ROUTES_R_EXPIRY_MEMBERS=false")
	w := cfg.Routes[0].StoreWhen
	if len(w) != 3 || w[0].Status[0] != "200" || len(w[1].NotIn) != 1 || w[1].NotIn[0] != "x" || w[2].Exists != (Choice{Set: true}) || w[1].Exists.Set {
		t.Errorf("%+v", w)
	}
	if e := cfg.Routes[0].Expiry; !e.SignedLinks || e.Members {
		t.Errorf("%+v", e)
	}
	checkRoundTrip(t, cfg)
	mustFail(t, docs+"routes:\n- {name: r, namespace: builds, store_when: [{status: [200]}]}\n", []string{"JAEGIS_ROUTES_R_STORE_WHEN_0_IN=x"},
		"proxy.yaml:3: routes[0].store_when[0]: compares a status by other than a list; write status: [200, 203], and nothing else beside it")
}
