package policy

import (
	"net/http"
	"time"
)

// decideOrigin is RFC 9111, sections 3 and 4.2, for a shared cache.
func decideOrigin(rule *Rule, req *Request, resp *Response, cc *Directives, isTargeted bool, now time.Time) Decision {
	d := Decision{Share: shareable(resp.Status) && !cc.NoCache}
	switch {
	case req.Authorization && !cc.Public && !cc.MustRevalidate && !cc.SMaxAge.Set: // section 3.5
		d.Reason, d.Share = ReasonAuthorized, false
	case !storableStatus(resp.Status):
		d.Reason = ReasonStatus
	case cc.MustUnderstand && !understood(resp.Status): // section 5.2.2.3
		d.Reason = ReasonMustUnderstand
	case req.Method == "POST":
		_, explicit := explicitTTL(resp, cc, isTargeted, now)
		d.ForGET = explicit && speaksForTarget(req, resp)
		if !d.ForGET {
			d.Reason, d.Share = ReasonMethod, false
		}
	case req.Method != "GET" && req.Method != "QUERY":
		d.Reason, d.Share = ReasonMethod, false
	}
	if d.Reason == "" && resp.Status == http.StatusPartialContent && (!req.Range || req.Method != "GET") {
		d.Reason, d.Share = ReasonPartial, false
	}
	if d.Reason != "" {
		return d
	}
	d.Lifetime, d.Reason = originLifetime(rule, req, resp, cc, isTargeted, now)
	if d.Reason != "" {
		return Decision{Reason: d.Reason, Share: d.Share}
	}
	byLeave := rule.ShareAuthorized && req.Authorization && !req.Others && cc.MustRevalidate
	d.Store, d.Public = true, cc.Public || cc.SMaxAge.Set || byLeave
	state := d.Lifetime.At(now)
	d.Share = !d.ForGET && (d.Share || state == Fresh || state == Revalidate)
	if resp.Status == http.StatusPartialContent {
		part, fits := Part(resp.Header, now)
		d.Partial, d.Alone = &part, !fits
	}
	return d
}

// speaksForTarget says whether the answer to a POST is what a GET for the same
// URI would be given (RFC 9110, section 9.3.3).
func speaksForTarget(req *Request, resp *Response) bool {
	lines := resp.Header.Values("Content-Location")
	if resp.Status != http.StatusOK || len(lines) != 1 {
		return false
	}
	u := resolve(req.URI, lines[0])
	return u != nil && sameOrigin(u, req.URI) && pathAndQuery(u) == pathAndQuery(req.URI)
}

// understood says whether the caching requirements of a final status are known
// and followed here (RFC 9111, section 5.2.2.3): those of RFC 9110.
func understood(status int) bool {
	switch {
	case status >= 200 && status <= 206,
		status >= 300 && status <= 303, status == 307, status == 308,
		status >= 400 && status <= 417,
		status == 421, status == 422, status == 426,
		status >= 500 && status <= 505:
		return true
	}
	return false
}

// storableStatus says whether any answer with this status may be stored by its
// own word, known to us or not. Those left out speak of one request or of one
// connection, not of the target: given to others they would be wrong (408,
// 412, 413, 416, 417, 421, 425, 426, 431), or their RFC forbids it (RFC 6585
// for 428, 429, 431 and 511).
func storableStatus(status int) bool {
	switch status {
	case 304, 407, 408, 412, 413, 416, 417, 421, 425, 426, 428, 429, 431, 511:
		return false
	}
	return status >= 200 && status <= 599
}
