package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// requireToken lets through what carries the token (RFC 6750). Hashes are
// compared, so that the time taken tells neither the token nor its length.
func requireToken(token string, next http.HandlerFunc) http.HandlerFunc {
	want := sha256.Sum256([]byte(token))
	return func(w http.ResponseWriter, r *http.Request) {
		given, ok := bearer(r.Header)
		got := sha256.Sum256([]byte(given))
		if subtle.ConstantTimeCompare(got[:], want[:]) == 1 && ok {
			next(w, r)
			return
		}
		challenge, message := `Bearer realm="jaegis-proxy admin"`, "this needs the admin token as a bearer token"
		if ok {
			challenge, message = challenge+`, error="invalid_token"`, "the bearer token is not the admin token"
		}
		w.Header().Set("WWW-Authenticate", challenge)
		writeError(w, http.StatusUnauthorized, "jaegis_unauthorized", message)
	}
}

// bearer gives the token of the one Authorization field; more than one field
// is as good as none.
func bearer(h http.Header) (token string, ok bool) {
	fields := h.Values("Authorization")
	if len(fields) != 1 {
		return "", false
	}
	scheme, token, found := strings.Cut(fields[0], " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.Trim(token, " "), true
}

// localOnly says why a request to a listener without a token is refused, or
// "". The listener is on loopback, but a browser on this machine can reach it
// for any page it shows: under a name that the page's owner points at
// 127.0.0.1 (Host tells), or plainly across sites (Sec-Fetch-Site and Origin
// tell). Another port of localhost is another site here.
func localOnly(r *http.Request) string {
	if !isLocalHost(r.Host) {
		return "without an admin token only requests for localhost or a loopback address are answered"
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		return "without an admin token requests from another site are refused"
	}
	for _, origin := range r.Header.Values("Origin") {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" || !strings.EqualFold(u.Host, r.Host) {
			return "without an admin token requests from another origin are refused"
		}
	}
	return ""
}

// isLocalHost reports whether a Host field names this machine by localhost or
// by a loopback address, with or without a port.
func isLocalHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// secureHeaders holds for every answer: none is to be cached, framed, sniffed
// or read by another site.
func secureHeaders(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}
