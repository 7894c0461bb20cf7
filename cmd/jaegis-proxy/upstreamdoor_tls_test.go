package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jaegis-proxy/internal/origintest"
)

// authority is a CA made for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its certificate, in PEM
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t), file: filepath.Join(t.TempDir(), "ca.pem")}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der := a.sign(a.cert, &a.key.PublicKey)
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(cert *x509.Certificate, key *ecdsa.PublicKey) []byte {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, key, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

// issue gives a configuration for a server on loopback and by the name given.
func (a *authority) issue(name string) *tls.Config {
	a.t.Helper()
	key := newKey(a.t)
	der := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, &key.PublicKey)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// relay accepts connections and hands their bytes on to where to says, and
// back. It ends with the test.
func relay(t *testing.T, ln net.Listener, to func(net.Conn) (addr string)) {
	t.Helper()
	var running sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); running.Wait() })
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = c.Close() }()
				o, err := net.Dial("tcp", to(c))
				if err != nil {
					return
				}
				var back sync.WaitGroup
				back.Go(func() {
					_, _ = io.Copy(c, o)
					_ = c.Close()
				})
				_, _ = io.Copy(o, c)
				_ = o.Close()
				back.Wait()
			})
		}
	})
}

// tlsFront gives the address of a TLS listener before the origin.
func tlsFront(t *testing.T, config *tls.Config, o *origintest.Origin) string {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	relay(t, ln, func(net.Conn) string { return o.Addr })
	return ln.Addr().String()
}

func TestNoAnswerIsUnderstoodInTwoWaysOverTLS(t *testing.T) {
	ca, o := newAuthority(t), origintest.New(t)
	yaml := strings.NewReplacer("ORIGIN", "https://"+tlsFront(t, ca.issue("origin.test"), o), "MORE", "ca_file: "+ca.file).Replace(doorRoutes)
	d := newDoor(&rig{origin: o, proc: start(t, yaml)})
	d.tryAll(t, append(oddAnswerBodies(), oddAnswerFramings()...))
	if d.kinds["refused"] < 100 || d.kinds["answered"] < 50 {
		t.Error("too few were refused, or answered, for this to mean anything")
	}
}

// A kept connection is kept over TLS too.
func TestConnectionsOverTLSAreUsedAgain(t *testing.T) {
	ca, o := newAuthority(t), origintest.New(t)
	p := start(t, strings.NewReplacer("ORIGIN", "https://"+tlsFront(t, ca.issue("origin.test"), o), "MORE", "ca_file: "+ca.file).Replace(doorRoutes))
	s := connect(t, p.Addr)
	for i := range 20 {
		path := fmt.Sprintf("/d/%d?chunk=%d", i, i%2*100)
		s.send(send("POST", path, "hello"))
		s.receive("POST").proof(t, "POST", path, "", "hello")
	}
	if n := o.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestAnUpstreamOfAnotherAuthorityIsUnreachable(t *testing.T) {
	ca, other, o := newAuthority(t), newAuthority(t), origintest.New(t)
	p := start(t, strings.NewReplacer("ORIGIN", "https://"+tlsFront(t, ca.issue("origin.test"), o), "MORE", "ca_file: "+other.file).Replace(doorRoutes))
	if err := refusedBy(talk(t, p.Addr, get("/d/a", "Connection: close")), "jaegis_upstream_unreachable", http.StatusBadGateway); err != nil {
		t.Error(err)
	}
	if n := o.Calls(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// h2Origin is an upstream that speaks HTTP/2. /cut/ breaks off in its first
// answer, with a length (/cut/length) or without, and answers in full then.
type h2Origin struct {
	*httptest.Server
	calls   atomic.Int64
	strange atomic.Value // the first protocol that was not HTTP/2.0
}

const h2Body = "the whole answer"

func newH2Origin(t *testing.T, config *tls.Config) *h2Origin {
	o := &h2Origin{}
	seen := map[string]bool{}
	var mu sync.Mutex
	o.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.calls.Add(1)
		if r.Proto != "HTTP/2.0" {
			o.strange.Store(r.Proto)
		}
		mu.Lock()
		first := !seen[r.URL.Path]
		seen[r.URL.Path] = true
		mu.Unlock()
		w.Header().Set("Cache-Control", "max-age=3600")
		if strings.HasSuffix(r.URL.Path, "/length") {
			w.Header().Set("Content-Length", fmt.Sprint(len(h2Body)))
		}
		if !strings.Contains(r.URL.Path, "/cut/") || !first {
			body, _ := io.ReadAll(r.Body)
			_, _ = fmt.Fprint(w, h2Body+string(body))
			return
		}
		_, _ = fmt.Fprint(w, h2Body[:5])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) // RST_STREAM
	}))
	o.TLS, o.EnableHTTP2 = config, true
	o.StartTLS()
	t.Cleanup(o.Close)
	return o
}

func TestAnUpstreamMaySpeakHTTP2(t *testing.T) {
	ca := newAuthority(t)
	o := newH2Origin(t, ca.issue("origin.test"))
	r := &rig{proc: start(t, strings.NewReplacer("ORIGIN", o.URL, "MORE", "ca_file: "+ca.file).Replace(doorRoutes))}
	if got := r.whole(t, send("POST", "/c/a", "hello")); string(got.Body) != h2Body+"hello" {
		t.Errorf("%q", got.Body)
	}
	r.untilX(t, send("POST", "/c/a", "hello"), "HIT")
	for _, path := range []string{"/c/cut/length", "/c/cut/open", "/d/cut/length", "/d/cut/open"} {
		before := o.calls.Load()
		if got := r.do(t, get(path)); got.StatusCode != http.StatusOK || got.Err == nil || !bytes.HasPrefix([]byte(h2Body), got.Body) {
			t.Errorf("%s: a cut answer is status %d, %v, %q", path, got.StatusCode, got.Err, got.Body)
		}
		if got := r.whole(t, get(path)); string(got.Body) != h2Body || got.xCache() != "MISS" {
			t.Errorf("%s after the cut: %q, X-Cache %q", path, got.Body, got.xCache())
		}
		r.untilX(t, get(path), "HIT")
		if n := o.calls.Load() - before; n != 2 {
			t.Errorf("%s: %d calls, want 2", path, n)
		}
	}
	if proto := o.strange.Load(); proto != nil {
		t.Errorf("spoke %v", proto)
	}
}
