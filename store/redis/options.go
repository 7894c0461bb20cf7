package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Options say where Redis is and how long it may take.
type Options struct {
	// URL is redis://[user[:password]@]host[:port][/db], rediss:// for TLS, or
	// unix://. Username, Password and DB, where set, come before what it says.
	URL      string
	Username string
	Password string
	DB       int

	// MaxConnections bounds the connections together; 20 if not positive. Fewer
	// than 10 count as 10: 9 are for small reads, the others for all else.
	MaxConnections int

	// RetryOnTimeout tries a write that got no answer once more, within its
	// SocketTimeout. Reads of large values share the writes' connections and are
	// tried again too, within their budget; other reads never are.
	RetryOnTimeout bool

	// SocketTimeout bounds a write as a whole; 5 s if not positive.
	SocketTimeout time.Duration

	// Budget bounds a read as a whole; 50 ms if not positive. A read of an entry
	// in chunks has it once for the manifest and once for each batch of chunks (up
	// to 4 MiB, less where that takes too long), and a value that is found corrupt
	// once more, for removing it.
	Budget time.Duration

	// EncryptionKeys, where there are any, encrypt all values: the first key
	// does, all of them decrypt. Values in plain, and values that were encrypted
	// with other keys, then are misses; without keys, encrypted ones are.
	EncryptionKeys []EncryptionKey

	TLS    *tls.Config  // used when not nil, also with redis://
	Logger *slog.Logger // hears of changes of state, not of requests; nil is none

	// Now is the clock by which entries expire; nil is time.Now. Timeouts are
	// real time.
	Now func() time.Time
}

// EncryptionKey is a key of AES-256: 32 random bytes. It does not print.
type EncryptionKey [32]byte

// Format makes every verb print the same four stars.
func (EncryptionKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("****")) }

// MarshalText gives four stars.
func (EncryptionKey) MarshalText() ([]byte, error) { return []byte("****"), nil }

func withDefaults(opts Options) Options {
	if opts.MaxConnections <= 0 {
		opts.MaxConnections = 20
	}
	if opts.SocketTimeout <= 0 {
		opts.SocketTimeout = 5 * time.Second
	}
	if opts.Budget <= 0 {
		opts.Budget = 50 * time.Millisecond
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return opts
}

// clientOptions are what both clients have in common.
func clientOptions(opts Options) (*goredis.Options, error) {
	parsed, err := goredis.ParseURL(opts.URL)
	if err != nil {
		// Not the parser's own words: they quote the URL, password and all.
		return nil, errors.New("redis: the URL is not of the form redis://[user[:password]@]host[:port][/db]")
	}
	if opts.Username != "" {
		parsed.Username = opts.Username
	}
	if opts.Password != "" {
		parsed.Password = opts.Password
	}
	if opts.DB < 0 {
		return nil, fmt.Errorf("redis: database number %d is negative", opts.DB)
	}
	if opts.DB > 0 {
		parsed.DB = opts.DB
	}
	if opts.TLS != nil {
		parsed.TLSConfig = opts.TLS.Clone()
		if host, _, err := net.SplitHostPort(parsed.Addr); err == nil && parsed.TLSConfig.ServerName == "" {
			parsed.TLSConfig.ServerName = host
		}
	}
	parsed.Protocol = 2 // no push messages between the replies
	parsed.ContextTimeoutEnabled = true
	parsed.DialTimeout = max(100*time.Millisecond, 2*opts.Budget)
	parsed.DialerRetries = 1
	parsed.MinRetryBackoff, parsed.MaxRetryBackoff = time.Millisecond, 8*time.Millisecond
	parsed.MinIdleConns, parsed.MaxIdleConns, parsed.MaxActiveConns = 0, 0, 0
	parsed.DisableIdentity = true // CLIENT SETINFO, which few users may call
	parsed.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return parsed, nil
}
