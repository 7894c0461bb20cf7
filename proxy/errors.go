package proxy

import (
	"encoding/json"
	"errors"
	"net/http"

	"jaegis-proxy/internal/flight"
	"jaegis-proxy/internal/spool"
)

// refusal is an error with the answer that the client gets for it. Its status
// and type are decided where the refusal is made; everything else becomes an
// answer in errorAnswer.
type refusal struct {
	status  int
	kind    string // the error's type, behind "jaegis_"
	message string
	close   bool // the connection is of no further use
}

func (r *refusal) Error() string { return r.message }

// malformed refuses a request that cannot be trusted to mean one thing.
func malformed(message string) *refusal {
	return &refusal{http.StatusBadRequest, "bad_request", message, true}
}

var (
	errNoRoute      = &refusal{http.StatusNotFound, "no_route", "no route takes this request and there is no default upstream", true}
	errOnlyIfCached = &refusal{http.StatusGatewayTimeout, "not_cached", "the request said only-if-cached and nothing usable is cached", false}
	errTooLarge     = &refusal{http.StatusRequestEntityTooLarge, "request_too_large", "the request body is larger than this route allows", true}
	errBodyTimeout  = &refusal{http.StatusRequestTimeout, "request_timeout", "the request body did not arrive in time", true}
	errBodyCut      = &refusal{http.StatusBadRequest, "bad_request", "the request body ended before its announced end", true}
	errSpoolFull    = &refusal{http.StatusInsufficientStorage, "spool_full", "there is no room to hold the request body; try again later or with a smaller one", true}
	errWebSocket    = &refusal{http.StatusNotImplemented, "upgrade_not_supported", "this proxy does not speak WebSocket; connect to the upstream itself for that", true}
	errMethod       = &refusal{http.StatusMethodNotAllowed, "method_not_allowed", "this method is not allowed", true}
	errExpect       = &refusal{http.StatusExpectationFailed, "expectation_failed", "the only expectation that can be met is 100-continue", true}
	errInternal     = &refusal{http.StatusInternalServerError, "internal", "the proxy failed on this request; the log says how", true}
	errLoop         = &refusal{http.StatusLoopDetected, "loop", "this request has come back to the proxy that sent it: an upstream leads to the proxy itself", true}
	errOverCapacity = &refusal{http.StatusServiceUnavailable, "over_capacity", "too many requests to upstreams are under way; try again later", false}
	errQuery        = &refusal{http.StatusBadRequest, "bad_request", "a QUERY must say by Content-Type what it asks", true}
	errVersion      = &refusal{http.StatusHTTPVersionNotSupported, "http_version", "only HTTP/1.1 and HTTP/1.0 are spoken here", true}
)

// errorAnswer is the one place that turns an error into an answer. What exactly
// an upstream did, and where it is, is for the log.
func errorAnswer(err error) *refusal {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	for _, known := range upstreamRefusals {
		if errors.Is(err, known.err) {
			return &refusal{known.status, known.kind, known.err.Error(), false}
		}
	}
	return &refusal{http.StatusBadGateway, "upstream_broken", errBroken.Error(), false}
}

// ofUpstream is how the kinds of those errors begin that an upstream is to blame
// for.
const ofUpstream = "upstream_"

// statusClientGone is for the log and the metrics: nobody is there to read it.
const statusClientGone = 499

var upstreamRefusals = []struct {
	err    error
	status int
	kind   string
}{
	{errFirstByte, http.StatusGatewayTimeout, "upstream_timeout"},
	{errIdle, http.StatusGatewayTimeout, "upstream_timeout"},
	{errStalled, http.StatusGatewayTimeout, "upstream_timeout"},
	{errTotal, http.StatusGatewayTimeout, "upstream_timeout"},
	{errConnect, http.StatusBadGateway, "upstream_unreachable"},
	{errMalformedAnswer, http.StatusBadGateway, "upstream_malformed"},
	{errNotResent, http.StatusBadGateway, "upstream_broken"},
	{errBadRequest, http.StatusBadRequest, "bad_request"},
	{errShutdown, http.StatusServiceUnavailable, "shutting_down"},
	{errClientGone, statusClientGone, "client_gone"},
	{flight.ErrAbandoned, http.StatusServiceUnavailable, "abandoned"},
	{spool.ErrFull, http.StatusInsufficientStorage, "spool_full"},
}

// errorBody is the JSON of an error.
func errorBody(r *refusal, id string) []byte {
	type body struct {
		Type      string `json:"type"`
		Message   string `json:"message"`
		RequestID string `json:"request_id"`
	}
	b, err := json.Marshal(map[string]body{"error": {"jaegis_" + r.kind, r.message, id}})
	if err != nil {
		panic("BUG: " + err.Error()) // strings always marshal
	}
	return append(b, '\n')
}
