package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// looks checks what is looked for in answers.
func (ck *checker) looks(key string, r Route) {
	for i, w := range r.StoreWhen {
		ck.storeWhen(fmt.Sprintf("%s.store_when[%d]", key, i), r, w)
	}
	switch {
	case len(r.StoreWhen) == 0:
	case r.Protocol != "none":
		ck.fail(key+".store_when", "contradicts protocol: "+r.Protocol+", whose answers are judged by its gates", "leave it out, or write protocol: none")
	case !r.Cache:
		ck.fail(key+".store_when", "contradicts cache: false, where nothing is stored", "leave one of them out")
	}
	for i, pointer := range r.Expiry.JSON {
		ck.pointer(fmt.Sprintf("%s.expiry.json[%d]", key, i), pointer)
	}
	if len(r.Expiry.JSON) > 0 && r.Protocol != "none" {
		ck.fail(key+".expiry.json", "contradicts protocol: "+r.Protocol+", whose answers are read by its own rules alone", "leave it out, or write protocol: none")
	}
	ck.tags(key+".tags", r)
}

func (ck *checker) tags(key string, r Route) {
	for _, list := range []struct {
		name    string
		sources []string
	}{{"json", r.Tags.JSON}, {"request_json", r.Tags.RequestJSON}} {
		for i, source := range list.sources {
			at := fmt.Sprintf("%s.%s[%d]", key, list.name, i)
			prefix, pointer := CutTagSource(source)
			switch {
			case pointer == "":
				ck.fail(at, strconv.Quote(source)+" has no JSON pointer", "write /customer/id, or customer:/customer/id to have customer: put before the value")
			case len(prefix) > 64:
				ck.fail(at, "more than 64 bytes before the JSON pointer", "write a shorter name")
			default:
				ck.pointer(at, pointer)
			}
		}
	}
	for i, name := range r.Tags.Headers {
		ck.headerName(fmt.Sprintf("%s.headers[%d]", key, i), name)
	}
	if len(r.Tags.JSON) > 0 && r.Protocol != "none" {
		ck.fail(key+".json", "contradicts protocol: "+r.Protocol+", whose answers are read by its own rules alone", "leave it out, or write protocol: none; request_json and headers can stay")
	}
}

// CutTagSource gives what is put before a value and the JSON pointer to it.
func CutTagSource(source string) (prefix, pointer string) {
	i := strings.IndexByte(source, '/')
	if i < 0 {
		return source, ""
	}
	return source[:i], source[i:]
}

// storeWhen checks one condition.
func (ck *checker) storeWhen(key string, r Route, w StoreWhen) {
	subjects := 0
	for _, is := range []bool{len(w.Status) > 0, w.Header != "", w.JSON != ""} {
		if is {
			subjects++
		}
	}
	if subjects != 1 {
		ck.fail(key, "names "+strconv.Itoa(subjects)+" of status, header and json", "write one of them in each condition; all conditions must hold")
		return
	}
	compares := w.Equals != "" || len(w.In) > 0 || len(w.NotIn) > 0 || w.Exists.Set
	switch {
	case len(w.Status) > 0:
		if compares {
			ck.fail(key, "compares a status by other than a list", "write status: [200, 203], and nothing else beside it")
		}
		ck.statuses(key+".status", r, w.Status)
		return
	case !compares:
		ck.fail(key, "says nothing of the value", "write equals, in, not_in or exists")
	case w.Equals != "" && len(w.In) > 0:
		ck.fail(key, "has both equals and in", "write in alone")
	case w.Exists.Set && !w.Exists.V && (w.Equals != "" || len(w.In) > 0 || len(w.NotIn) > 0):
		ck.fail(key, "compares a value that must not be there", "write exists: false alone")
	}
	if w.Header != "" {
		ck.headerName(key+".header", w.Header)
	} else {
		ck.pointer(key+".json", w.JSON)
	}
	for _, list := range []struct {
		name   string
		values []string
	}{{"equals", []string{w.Equals}}, {"in", w.In}, {"not_in", w.NotIn}} {
		if slices.ContainsFunc(list.values, func(s string) bool { return len(s) > 256 }) {
			ck.fail(key+"."+list.name, "a value of more than 256 bytes", "compare with a shorter one")
		}
	}
}

// statuses checks the statuses of a condition. One that is never stored has no
// place there.
func (ck *checker) statuses(key string, r Route, list []string) {
	byRoute := []string{"200", "203", "204", "301", "308"}
	for i, text := range list {
		at := fmt.Sprintf("%s[%d]", key, i)
		n, err := strconv.Atoi(text)
		switch {
		case err != nil || n < 200 || n > 599:
			ck.fail(at, strconv.Quote(text)+" is no final status", "write a number from 200 to 599")
		case r.Freshness == "route" && !slices.Contains(byRoute, text):
			ck.fail(at, text+" is never stored with freshness: route", "there are "+strings.Join(byRoute, ", "))
		}
	}
}
