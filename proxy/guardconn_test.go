package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"jaegis-proxy/internal/origintest"
)

// toOrigin gives an upstream that is the origin, by plain HTTP and by HTTPS.
func toOrigin(t *testing.T, do func(t *testing.T, o *origintest.Origin, u *Upstream)) {
	t.Run("http", func(t *testing.T) {
		o := origintest.New(t)
		do(t, o, newTestUpstream(t, UpstreamOptions{URL: o.URL}))
	})
	t.Run("https", func(t *testing.T) {
		o := origintest.New(t)
		addr, roots := tlsBefore(t, o.Addr)
		do(t, o, newTestUpstream(t, UpstreamOptions{URL: "https://" + addr, RootCAs: roots}))
	})
}

func newTestUpstream(t *testing.T, o UpstreamOptions) *Upstream {
	t.Helper()
	o.Name = "origin"
	u, err := NewUpstream(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.CloseIdle)
	return u
}

// tlsBefore listens with TLS, and hands the bytes on to addr and back.
func tlsBefore(t *testing.T, addr string) (listen string, roots *x509.CertPool) {
	t.Helper()
	ln, roots := tlsListener(t)
	var running sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); running.Wait() })
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { join(c, addr) })
		}
	})
	return ln.Addr().String(), roots
}

// tlsListener listens with a certificate of its own.
func tlsListener(t *testing.T) (net.Listener, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	self := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, self, self, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	return ln, roots
}

// join hands bytes on in both directions until both ends are closed.
func join(c net.Conn, addr string) {
	defer func() { _ = c.Close() }()
	o, err := net.Dial("tcp", addr)
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
}

// fetch sends a request and reads the whole answer.
func fetch(u *Upstream, r *Request) (string, *Response, error) {
	if r.Header == nil {
		r.Header = http.Header{}
	}
	resp, err := u.Do(context.Background(), r)
	if err != nil {
		return "", nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if cerr := resp.Body.Close(); err == nil {
		err = cerr
	}
	return string(body), resp, err
}

// fetchProof fetches and says whether the answer is that to the request.
func fetchProof(u *Upstream, method, path, body string) error {
	got, _, err := fetch(u, &Request{Method: method, Path: path, Body: Body{Declared: true, Size: int64(len(body)), bytes: []byte(body)}})
	if err != nil {
		return err
	}
	_, err = origintest.VerifyProof(method, path, "", []byte(body), []byte(got))
	return err
}

func TestACleanConnectionIsUsedAgain(t *testing.T) {
	toOrigin(t, func(t *testing.T, o *origintest.Origin, u *Upstream) {
		o.On("/chunked", origintest.Reply{Pieces: []string{"a", "b"}, Chunked: true, Trailer: []string{"X-T: a"}}.Serve)
		o.On("/204", origintest.Reply{Status: 204}.Serve)
		o.On("/interim", origintest.Reply{Interim: []int{100, 103}}.Serve)
		for i := range 20 {
			if err := fetchProof(u, "POST", fmt.Sprint("/", i), "hello"); err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{"/chunked", "/204", "/interim"} {
				for _, method := range []string{"GET", "HEAD"} {
					if _, _, err := fetch(u, &Request{Method: method, Path: path}); err != nil {
						t.Fatal(method, path, err)
					}
				}
			}
		}
		if n := o.Connections(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

func TestAMalformedAnswerHasAnErrorOfItsOwn(t *testing.T) {
	toOrigin(t, func(t *testing.T, o *origintest.Origin, u *Upstream) {
		for i, lie := range origintest.Lies() {
			if lie.Name == "head cut short" {
				continue // there is nothing to judge
			}
			path := fmt.Sprint("/", i)
			o.On(path, origintest.Literal(lie.Raw))
			for _, fresh := range []bool{true, false} {
				if fresh {
					u.CloseIdle()
				} else if err := fetchProof(u, "GET", "/keep", ""); err != nil {
					t.Fatal(err)
				}
				before := o.CallsTo(path)
				if body, _, err := fetch(u, &Request{Method: "GET", Path: path}); !errors.Is(err, errMalformedAnswer) {
					t.Errorf("%s, fresh %v: %q, %v", lie.Name, fresh, body, err)
				}
				if n := o.CallsTo(path) - before; n != 1 {
					t.Errorf("%s, fresh %v: sent %d times", lie.Name, fresh, n)
				}
			}
		}
	})
}

func TestInterimAnswersAreHandedOnBeforeTheAnswer(t *testing.T) {
	f := func(interim []int, want []int, wantErr error) {
		t.Helper()
		toOrigin(t, func(t *testing.T, o *origintest.Origin, u *Upstream) {
			o.On("/i", origintest.Reply{Interim: interim}.Serve)
			var got []int
			resp, err := u.Do(t.Context(), &Request{Method: "GET", Path: "/i", Header: http.Header{}, Interim: func(status int, h http.Header) {
				got = append(got, status)
				if h.Get("Link") == "" {
					t.Errorf("%d without its fields: %v", status, h)
				}
			}})
			if err == nil {
				_ = resp.Body.Close()
			}
			if !errors.Is(err, wantErr) || !slices.Equal(got, want) {
				t.Errorf("%v: got %v, %v", interim, got, err)
			}
		})
	}
	f(nil, nil, nil)
	f([]int{100}, nil, nil)
	f([]int{103}, []int{103}, nil)
	f([]int{102, 100, 103, 199}, []int{102, 103, 199}, nil)
	f([]int{101}, nil, errMalformedAnswer)
	f(slices.Repeat([]int{103}, maxInterim), slices.Repeat([]int{103}, maxInterim), nil)
	f(slices.Repeat([]int{103}, maxInterim+1), slices.Repeat([]int{103}, maxInterim), errMalformedAnswer)
}

func TestFramedSaysWhetherACutCanBeSeen(t *testing.T) {
	toOrigin(t, func(t *testing.T, o *origintest.Origin, u *Upstream) {
		f := func(method string, reply origintest.Reply, want bool) {
			t.Helper()
			o.On("/f", reply.Serve)
			_, resp, err := fetch(u, &Request{Method: method, Path: "/f"})
			if err != nil || resp.Framed != want {
				t.Errorf("%s %+v: %+v, %v", method, reply, resp, err)
			}
		}
		f("GET", origintest.Reply{Pieces: []string{"a"}}, true)
		f("GET", origintest.Reply{}, true)
		f("GET", origintest.Reply{Pieces: []string{"a"}, Chunked: true}, true)
		f("GET", origintest.Reply{Status: 204}, true)
		f("GET", origintest.Reply{Status: 304, Chunked: true}, true)
		f("HEAD", origintest.Reply{ToClose: true}, true)
		f("GET", origintest.Reply{Pieces: []string{"a"}, ToClose: true}, false)
	})
}

// A listener that says nothing is not waited for longer than for a connection.
func TestTheTLSHandshakeMustBeOverInTime(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	u := newTestUpstream(t, UpstreamOptions{URL: "https://" + ln.Addr().String(), ConnectTimeout: 50 * time.Millisecond})
	if err := fetchProof(u, "GET", "/", ""); !errors.Is(err, errConnect) {
		t.Error(err)
	}
}

func TestACertificateOfAnotherCAIsNotAccepted(t *testing.T) {
	o := origintest.New(t)
	addr, _ := tlsBefore(t, o.Addr)
	_, others := tlsBefore(t, o.Addr)
	u := newTestUpstream(t, UpstreamOptions{URL: "https://" + addr, RootCAs: others})
	if err := fetchProof(u, "GET", "/", ""); !errors.Is(err, errConnect) {
		t.Error(err)
	}
	if n := o.Calls(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}
