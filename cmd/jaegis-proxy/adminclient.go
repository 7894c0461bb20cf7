package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/pflag"
)

// adminClient speaks to the admin listener of a running proxy, for the
// commands that do.
type adminClient struct {
	base  *url.URL
	token string // empty when there is none to send
	http  *http.Client
}

const (
	adminPatience = 15 * time.Second // for a whole answer
	maxAdminBody  = 64 << 20
)

// addAdminFlags adds the flags from which newAdminClient makes a client.
func addAdminFlags(fs *pflag.FlagSet) {
	fs.String("admin", "", "URL of the admin listener (default that of JAEGIS_ADMIN_LISTEN, or http://127.0.0.1:8081)")
	fs.String("token", "", "admin token; better kept in JAEGIS_ADMIN_TOKEN, since other users can see command lines")
}

// newAdminClient reads the flags, and what they leave open from environ.
func newAdminClient(fs *pflag.FlagSet, environ []string) (*adminClient, error) {
	where, _ := fs.GetString("admin") // the flags are there: see addAdminFlags
	token, _ := fs.GetString("token")
	if where == "" {
		where = listenURL(lookupEnv(environ, "JAEGIS_ADMIN_LISTEN"))
	}
	if token == "" {
		token = strings.TrimSpace(lookupEnv(environ, "JAEGIS_ADMIN_TOKEN"))
	}
	if !strings.Contains(where, "://") {
		where = "http://" + where
	}
	base, err := url.Parse(where)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("--admin: not the URL of an admin listener; write http://HOST:PORT")
	}
	return &adminClient{base: base, token: token, http: &http.Client{
		// The token is for this one server: it is neither shown to a proxy of
		// the environment nor taken along to another place.
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// listenURL is where to ask what listens on addr: an unspecified address is
// reached by loopback.
func listenURL(addr string) string {
	base, err := urlOf(addr)
	if err != nil {
		return "http://127.0.0.1:8081"
	}
	return base
}

// urlOf is where a listener of this machine is asked: one on all interfaces on
// loopback.
func urlOf(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

func lookupEnv(environ []string, name string) (value string) {
	for _, v := range environ {
		if k, after, _ := strings.Cut(v, "="); k == name {
			value = after
		}
	}
	return value
}

// ask sends a request, with body as JSON unless it is nil, and gives the JSON
// of the answer. Errors say what a person can do about them.
func (c *adminClient) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, adminPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error // says method and URL again
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, fmt.Errorf("no answer from %s: %w; is the proxy running, and is this its admin.listen?", c.base, err)
	}
	defer func() { _ = resp.Body.Close() }() // what was read is what counts
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAdminBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the answer of %s broke off: %w", c.base, err)
	case len(answer) > maxAdminBody:
		return nil, fmt.Errorf("the answer of %s is larger than %d bytes", c.base, maxAdminBody)
	case resp.StatusCode != http.StatusOK:
		return nil, c.refused(resp, answer)
	case !json.Valid(answer):
		return nil, c.stranger()
	}
	return answer, nil
}

// refused says what an answer other than 200 means.
func (c *adminClient) refused(resp *http.Response, answer []byte) error {
	var e struct {
		Error struct{ Type, Message string }
	}
	if json.Unmarshal(answer, &e) != nil || !strings.HasPrefix(e.Error.Type, "jaegis_") {
		return fmt.Errorf("%w (it said %s)", c.stranger(), plainText(resp.Status))
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized && c.token == "":
		return fmt.Errorf("%s wants the admin token: set JAEGIS_ADMIN_TOKEN, or give --token", c.base)
	case resp.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%s does not take this admin token", c.base)
	}
	return fmt.Errorf("%s refused: %s (%s)", c.base, plainText(e.Error.Message), plainText(resp.Status))
}

func (c *adminClient) stranger() error {
	return fmt.Errorf("what answers at %s is not the admin listener of this version of jaegis-proxy", c.base)
}

// plainText is s without what a terminal would act on.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '_'
	}, s)
}
