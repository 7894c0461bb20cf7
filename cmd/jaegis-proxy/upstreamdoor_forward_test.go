package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"jaegis-proxy/internal/origintest"
)

// An upstream that is reached by way of a forward proxy of the environment. It
// has a name that only that proxy knows: nobody is asked for a proxy to reach
// loopback.

const forwarded = "upstream.test"

func TestNoAnswerIsUnderstoodInTwoWaysByWayOfAProxy(t *testing.T) {
	o := origintest.New(t)
	t.Setenv("HTTP_PROXY", o.URL)
	t.Setenv("NO_PROXY", "")
	r := &rig{origin: o, proc: start(t, strings.NewReplacer("ORIGIN", "http://"+forwarded, "MORE", "connect_timeout: 5s").Replace(doorRoutes))}
	const path = "/c/a"
	for i := range 3 { // on a new connection, and on a kept one
		got := r.whole(t, send("POST", path, fmt.Sprint(i)))
		if _, err := origintest.VerifyProof("POST", "http://"+forwarded+path, "", []byte(fmt.Sprint(i)), got.Body); err != nil {
			t.Fatal(err)
		}
	}
	if n := o.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	for i, lie := range origintest.Lies() {
		if lie.Name == "head cut short" {
			continue
		}
		path := fmt.Sprint("/c/", i)
		o.On("http://"+forwarded+path, origintest.Literal(lie.Raw))
		got := r.do(t, get(path))
		if err := refusedBy(got, "jaegis_upstream_malformed", http.StatusBadGateway); err != nil && (got.StatusCode != http.StatusOK || got.Err == nil) {
			t.Errorf("%s: %v", lie.Name, err)
		}
	}
}

func TestAnUpstreamMayBeReachedThroughATunnel(t *testing.T) {
	ca, o := newAuthority(t), origintest.New(t)
	end := tlsFront(t, ca.issue(forwarded), o)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	relay(t, ln, func(c net.Conn) string { return acceptTunnel(c, end) })
	t.Setenv("HTTPS_PROXY", "http://"+ln.Addr().String())
	t.Setenv("NO_PROXY", "")
	r := &rig{origin: o, proc: start(t, strings.NewReplacer("ORIGIN", "https://"+forwarded, "MORE", "ca_file: "+ca.file).Replace(doorRoutes))}
	for i := range 3 {
		body := fmt.Sprint(i)
		r.whole(t, send("POST", "/c/a", body)).proof(t, "POST", "/c/a", "", body)
	}
	if n := o.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// acceptTunnel reads a CONNECT to the upstream, and no byte more.
func acceptTunnel(c net.Conn, end string) string {
	var head []byte
	for b := make([]byte, 1); !strings.HasSuffix(string(head), "\r\n\r\n"); head = append(head, b[0]) {
		if _, err := io.ReadFull(c, b); err != nil {
			return ""
		}
	}
	if !strings.HasPrefix(string(head), "CONNECT "+forwarded+":443 HTTP/1.1\r\n") {
		return ""
	}
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
	return end
}
