package config

// Route is one rule of what is cached and how. DefaultRoute gives its
// defaults.
type Route struct {
	Name                  string      `yaml:"name"`
	Match                 Match       `yaml:"match"`
	Upstream              string      `yaml:"upstream"`
	Cache                 bool        `yaml:"cache"` // false: passed through; of the rest only the sizes and on_abandon count
	Namespace             string      `yaml:"namespace"`
	TTL                   Duration    `yaml:"ttl"` // left out: cache.ttl of the namespace
	StaleWhileRevalidate  Duration    `yaml:"stale_while_revalidate"`
	StaleIfError          Duration    `yaml:"stale_if_error"`
	Scope                 string      `yaml:"scope"`             // "credential", "shared" or "public"
	ProofTTL              Duration    `yaml:"proof_ttl"`         // scope "shared": for how long the upstream's acceptance of a credential counts; above 0
	Freshness             string      `yaml:"freshness"`         // "route" or "origin"
	OverrideNoStore       bool        `yaml:"override_no_store"` // with freshness "route": store even what says no-store
	ShareAuthorized       bool        `yaml:"share_authorized"`  // with freshness "origin": must-revalidate is leave to share answers to requests with Authorization and no other credentials
	Protocol              string      `yaml:"protocol"`          // one of Protocols
	Gates                 Gates       `yaml:"gates"`
	StoreWhen             []StoreWhen `yaml:"store_when"` // all must hold for an answer to be stored; empty: it must not say that it is not done
	Expiry                Expiry      `yaml:"expiry"`
	Tags                  Tags        `yaml:"tags"`
	When                  When        `yaml:"when"`
	Variants              int         `yaml:"variants"` // up to how many distinct answers are kept for one key, 1 to 16
	Replay                Replay      `yaml:"replay"`
	Shadow                bool        `yaml:"shadow"`        // everything is forwarded; what would have been hits is counted and compared
	DenyControls          []string    `yaml:"deny_controls"` // of Controls: what clients may not say
	OnAbandon             string      `yaml:"on_abandon"`    // "finish" or "cancel"
	Key                   Key         `yaml:"key"`
	MaxRequestBytes       Size        `yaml:"max_request_bytes"`        // larger requests are refused
	MaxCachedRequestBytes Size        `yaml:"max_cached_request_bytes"` // larger requests are streamed through and not cached
	OnSpoolFull           string      `yaml:"on_spool_full"`            // "reject" or "bypass": what becomes of a request for whose body there is no room
	MaxObjectBytes        Size        `yaml:"max_object_bytes"`         // larger answers are streamed and not stored
}

// Match selects requests; what is empty matches every request.
type Match struct {
	Hosts   []string `yaml:"hosts"`   // without port
	Methods []string `yaml:"methods"` // upper case
	Path    string   `yaml:"path"`    // exact, or a prefix that ends in *
}

// Gates say which answers of an AI protocol may be stored. All that is zero is
// the protocol's default.
type Gates struct {
	FinishReasons         []string `yaml:"finish_reasons"` // in the provider's words; empty: the protocol's defaults
	AllowEmpty            bool     `yaml:"allow_empty"`
	AllowBadToolArguments bool     `yaml:"allow_bad_tool_arguments"` // tool calls whose arguments are no JSON
}

// StoreWhen is one condition on answers, on exactly one of their status, a header
// and a member of their JSON body.
type StoreWhen struct {
	Status []string `yaml:"status"` // one of these; numbers
	Header string   `yaml:"header"` // the name of a header
	JSON   string   `yaml:"json"`   // JSON pointer
	Equals string   `yaml:"equals"` // the value; empty: any, or none
	In     []string `yaml:"in"`     // the value is one of these; empty: any, or none
	NotIn  []string `yaml:"not_in"` // the value is none of these
	Exists Choice   `yaml:"exists"` // whether it is there; left out: it does not matter
}

// Expiry says what in an answer ends how long it can be used.
type Expiry struct {
	SignedLinks bool     `yaml:"signed_links"` // links whose signature expires, in headers and JSON bodies
	Members     bool     `yaml:"members"`      // the JSON members expires_at, expiresAt, expires_in and expiresIn
	JSON        []string `yaml:"json"`         // JSON pointers to more of them
}

// Tags says by what else answers can be purged. A JSON pointer may have a text
// before its first "/", which is put before the value.
type Tags struct {
	JSON        []string `yaml:"json"`         // values of answers
	RequestJSON []string `yaml:"request_json"` // values of requests
	Headers     []string `yaml:"headers"`      // headers of answers, with commas between tags
}

// When says which requests are cached; the others are passed through. Zero is
// all of them.
type When struct {
	TemperatureMax Number   `yaml:"temperature_max"` // those that name a temperature, and none above this
	Seed           bool     `yaml:"seed"`            // those that name a seed
	Without        []string `yaml:"without"`         // JSON pointers: those whose JSON body has none of these members, or has null or false there
}

// Replay says how stored streams are sent.
type Replay struct {
	Pace Pace `yaml:"pace"`
}

// Key says which parts of a request make its key.
type Key struct {
	Body        string       `yaml:"body"`        // "auto", "json", "multipart", "form" or "raw"
	Ignore      []string     `yaml:"ignore"`      // JSON pointers (RFC 6901) that are left out
	Headers     []string     `yaml:"headers"`     // headers that are put in
	Credentials []string     `yaml:"credentials"` // headers, or "?name" for query parameters, that identify the caller
	Query       KeyQuery     `yaml:"query"`
	Multipart   KeyMultipart `yaml:"multipart"`
}

// KeyMultipart says what of the parts of a multipart body counts.
type KeyMultipart struct {
	Ignore       []string `yaml:"ignore"`        // "filename", "content_type"
	IgnoreFields []string `yaml:"ignore_fields"` // names of fields that are left out
	Headers      string   `yaml:"headers"`       // "auto": "rfc8187" where the caller is in the key, else "meaning"; "meaning": what the header of a part says to all programs; "rfc8187": filename* says the same as filename, too; "bytes": the header as it came
}

// KeyQuery says which parameters are left out of the key.
type KeyQuery struct {
	Ignore []string `yaml:"ignore"`
}

// Protocols lists the protocols that a route may name.
func Protocols() []string {
	return []string{"none", "openai-chat", "openai-responses", "openai-embeddings", "openai-moderations", "anthropic-messages", "gemini", "ollama"}
}

// Controls lists what clients may say with a request, and deny_controls may
// forbid them.
func Controls() []string {
	return []string{"cache-control", "ttl", "mode", "namespace", "tags"}
}
