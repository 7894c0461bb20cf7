package config

import "fmt"

// uploads checks what is about large and multipart bodies of requests.
func (ck *checker) uploads(key string, r Route) {
	ck.atLeast(key+".max_cached_request_bytes", int64(r.MaxCachedRequestBytes), 1)
	ck.oneOf(key+".on_spool_full", r.OnSpoolFull, "reject", "bypass")
	key += ".key.multipart"
	m := r.Key.Multipart
	for i, what := range m.Ignore {
		ck.oneOf(fmt.Sprintf("%s.ignore[%d]", key, i), what, "filename", "content_type")
	}
	for i, name := range m.IgnoreFields {
		if name == "" {
			ck.fail(fmt.Sprintf("%s.ignore_fields[%d]", key, i), "empty", "write the name of a form field")
		}
	}
	if r.Key.Body != "auto" && r.Key.Body != "multipart" && len(m.Ignore)+len(m.IgnoreFields) > 0 {
		ck.fail(key, "nothing is read as multipart with body: "+r.Key.Body, "leave it out, or write body: auto")
	}
	if !ck.oneOf(key+".headers", m.Headers, "auto", "meaning", "rfc8187", "bytes") || m.Headers != "bytes" {
		return
	}
	if len(m.Ignore)+len(m.IgnoreFields) > 0 {
		ck.fail(key+".headers", "contradicts ignore and ignore_fields, for which headers must be understood", "leave them out, or write headers: auto")
	}
}
