package policy

import (
	"net/http"
	"strings"
	"time"
)

// Preconditions are the fields by which a client says that it holds a copy.
type Preconditions struct {
	IfNoneMatch     string
	IfModifiedSince string
}

// NotModified says whether a client that holds a copy needs no other (RFC
// 9110, section 13.2.2): the fields are those of the answer that it would be
// given, and each may be empty. Where it does not say when it was last modified,
// its Date says when it was not yet another (RFC 9111, section 4.3.2).
func (p Preconditions) NotModified(etag, lastModified, date string) bool {
	if p.IfNoneMatch != "" {
		return matchesETag(p.IfNoneMatch, etag)
	}
	if lastModified == "" {
		lastModified = date
	}
	if p.IfModifiedSince == "" || lastModified == "" {
		return false
	}
	since, err1 := http.ParseTime(p.IfModifiedSince)
	modified, err2 := http.ParseTime(lastModified)
	return err1 == nil && err2 == nil && !modified.After(since.Add(time.Second-1))
}

// matchesETag compares weakly, as If-None-Match does.
func matchesETag(list, etag string) bool {
	if strings.TrimSpace(list) == "*" {
		return true
	}
	etag = strings.TrimPrefix(etag, "W/")
	for etag != "" && list != "" {
		list = strings.TrimLeft(list, " \t,")
		tag := strings.TrimPrefix(list, "W/")
		if !strings.HasPrefix(tag, `"`) {
			return false
		}
		end := strings.IndexByte(tag[1:], '"')
		if end < 0 {
			return false
		}
		if tag[:end+2] == etag {
			return true
		}
		list = tag[end+2:]
	}
	return false
}
