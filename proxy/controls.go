package proxy

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"jaegis-proxy/policy"
)

// The fields by which a client says, for one request, how it is to be cached.
// None of them reaches an upstream.
const (
	controlPrefix    = "Jaegis-Cache-"
	controlTTL       = "Jaegis-Cache-Ttl" // canonical; users write Jaegis-Cache-TTL
	controlMode      = "Jaegis-Cache-Mode"
	controlNamespace = "Jaegis-Cache-Namespace"
	controlTags      = "Jaegis-Cache-Tags"
)

// Controls are the things that clients may be forbidden to say.
type Controls uint8

// The controls.
const (
	ControlDirectives Controls = 1 << iota // Cache-Control and Pragma: then they are not heeded
	ControlTTL                             // the rest: then they are refused
	ControlMode
	ControlNamespace
	ControlTags
)

// mode says what a request may do with the store.
type mode uint8

const (
	readWrite mode = iota
	readOnly       // what is fetched for it is not stored
	writeOnly      // what is stored is not given to it
	refresh        // the same
	bypass
)

// controls are what a client asked for.
type controls struct {
	mode   mode
	hasTTL bool
	ttl    time.Duration
	tags   []string
}

func errControl(name, want string) *refusal {
	return &refusal{http.StatusBadRequest, "bad_control", name + ": " + want, false}
}

// readControls reads them. What is not understood is refused, for the client
// would get another caching than it asked for.
func (c *call) readControls() *refusal {
	denied := c.denied()
	if denied&ControlDirectives == 0 {
		c.readDirectives()
	}
	if !c.head.flags.has(hasControls) {
		return nil
	}
	for k, v := range c.ctx.Request.Header.All() {
		name := http.CanonicalHeaderKey(string(k))
		if !strings.HasPrefix(name, controlPrefix) || name == "Jaegis-Cache-Control" { // that is a field of answers
			continue
		}
		if r := c.readControl(name, strings.Trim(string(v), " \t"), denied); r != nil {
			return r
		}
	}
	return nil
}

// denied are the controls that neither the route nor the client's entry in the
// configuration leaves to the client.
func (c *call) denied() Controls {
	d := c.route.Deny
	if c.client != nil {
		d |= c.client.Deny
	}
	return d
}

func (c *call) readControl(name, value string, denied Controls) *refusal {
	var control Controls
	var r *refusal
	switch name {
	case controlTTL:
		control, r = ControlTTL, c.readTTL(value)
	case controlMode:
		control, r = ControlMode, c.readMode(value)
	case controlNamespace:
		control = ControlNamespace
		if !isLabel(value) {
			r = errControl("Jaegis-Cache-Namespace", "must be 1 to 64 letters, digits, dots, dashes or underscores")
		}
	case controlTags:
		control, r = ControlTags, c.readTags(value)
	default:
		r = errControl(name, "is not known: there are Jaegis-Cache-TTL, Jaegis-Cache-Mode, Jaegis-Cache-Namespace and Jaegis-Cache-Tags")
	}
	if denied&control != 0 {
		return &refusal{http.StatusForbidden, "control_denied", "this route or this client may not send " + name, false}
	}
	return r
}

// readTTL takes seconds, or a duration with a unit.
func (c *call) readTTL(value string) *refusal {
	ttl, err := time.ParseDuration(value)
	if seconds, serr := strconv.ParseInt(value, 10, 32); serr == nil {
		ttl, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil || ttl < 0 || ttl > maxTTL {
		return errControl("Jaegis-Cache-TTL", "must be a number of seconds or a duration such as 90m, a year at most; 0 stores nothing")
	}
	c.controls.hasTTL, c.controls.ttl = true, ttl
	return nil
}

const maxTTL = 366 * 24 * time.Hour

func (c *call) readMode(value string) *refusal {
	names := []string{readWrite: "read-write", readOnly: "read-only", writeOnly: "write-only", refresh: "refresh", bypass: "bypass"}
	i := slices.Index(names, strings.ToLower(value))
	if i < 0 {
		return errControl("Jaegis-Cache-Mode", "must be one of "+strings.Join(names, ", "))
	}
	c.controls.mode = mode(i)
	return nil
}

// Bounds on the tags of one request.
const (
	maxTags = 32
	maxTag  = 128
)

func (c *call) readTags(value string) *refusal {
	for tag := range strings.SplitSeq(value, ",") {
		tag = strings.Trim(tag, " \t")
		if tag == "" || len(tag) > maxTag || len(c.controls.tags) == maxTags {
			return errControl("Jaegis-Cache-Tags", "must be at most 32 tags of at most 128 bytes, separated by commas")
		}
		c.controls.tags = append(c.controls.tags, tag)
	}
	return nil
}

// isLabel says whether a partition may have this name.
func isLabel(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

// stores says whether what is fetched may be stored.
func (o *controls) stores() bool { return o.mode != readOnly && (!o.hasTTL || o.ttl > 0) }

// reasonRequest is why an answer is not stored that the client did not want to
// be.
const reasonRequest policy.Reason = "request-control"

// apply makes of the verdict what the client asked for.
func (o *controls) apply(rule *policy.Rule, d *policy.Decision) {
	switch {
	case d.Store && !o.stores():
		d.Store, d.Reason = false, reasonRequest
	case o.hasTTL && rule.Freshness == policy.FreshnessRoute:
		d.Lifetime.TTL = o.ttl
	}
}
