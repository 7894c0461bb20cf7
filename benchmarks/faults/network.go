package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"jaegis-proxy/store/storetest"
)

func networkFaults() []fault {
	return []fault{
		{"Redis reset", "toxiproxy: reset_peer", "no request fails, in use again by itself", badNetwork(
			`{"type": "reset_peer", "stream": "downstream", "attributes": {"timeout": 5}}`)},
		{"Redis cut off in mid-reply", "toxiproxy: limit_data, 2000 bytes a connection", "no request fails, no reply to another request", badNetwork(
			`{"type": "limit_data", "stream": "downstream", "attributes": {"bytes": 2000}}`)},
		{"Redis unreachable", "toxiproxy: timeout, all bytes are swallowed", "no request fails, in use again by itself", badNetwork(
			`{"type": "timeout", "stream": "downstream", "attributes": {"timeout": 0}}`)},
		{"Redis refuses connections", "toxiproxy: not listening", "no request fails, in use again by itself", badNetwork("")},
		{"jitter, late replies", "toxiproxy: latency 25 ms, jitter 25 ms and more than the budget", "no reply is given to another request", badNetwork(
			`{"type": "latency", "stream": "downstream", "attributes": {"latency": 30, "jitter": 30}}`)},
		{"slow network", "toxiproxy: 64 KB/s", "no request fails, no reply to another request", badNetwork(
			`{"type": "bandwidth", "stream": "downstream", "attributes": {"rate": 64}}`)},
	}
}

// network is what is between the proxy and Redis. Each state of it is a proxy
// of its own at the same address: toxiproxy may hang when it changes busy ones.
type network struct {
	server *toxiproxy.ApiServer
	addr   string
	target string
	proxy  *toxiproxy.Proxy
}

func newNetwork(target string) (*network, error) {
	// Below the ports that the system gives to connections: ours stays free
	// while nobody listens.
	n := &network{target: target, server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())}
	for range 1000 {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000)))
		if err != nil {
			continue
		}
		n.addr = ln.Addr().String()
		return n, errors.Join(ln.Close(), n.start())
	}
	return nil, errors.New("no free port")
}

func (n *network) start(toxics ...string) error {
	n.proxy = toxiproxy.NewProxy(n.server, "redis", n.addr, n.target)
	for _, toxic := range toxics {
		if !json.Valid([]byte(toxic)) {
			return fmt.Errorf("no JSON: %s", toxic)
		}
		if _, err := n.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			return err
		}
	}
	return n.proxy.Start()
}

// close ends it.
func (n *network) close() error {
	if n.proxy != nil {
		n.proxy.Stop()
	}
	return nil
}

// badNetwork is one that has a toxic for a while, or nobody who listens.
func badNetwork(toxic string) func(context.Context, *rig) error {
	return func(ctx context.Context, r *rig) error {
		s, err := r.redis(storetest.ServerOptions{})
		if err != nil {
			return err
		}
		n, err := newNetwork(s.Addr)
		if err != nil {
			return err
		}
		r.closers = append(r.closers, n.close)
		if err := errors.Join(r.start(noMemory+"redis: {url: \"redis://"+n.addr+"\"}", nil), r.fill(ctx, docs, small)); err != nil {
			return err
		}
		before := r.load(ctx, clients, docs, time.Second, small)
		n.proxy.Stop()
		if toxic != "" {
			if err := n.start(toxic); err != nil {
				return err
			}
		}
		during := r.load(ctx, clients, docs, 3*time.Second, small)
		n.proxy.Stop()
		if err := n.start(); err != nil {
			return err
		}
		began := time.Now()
		err = r.fill(ctx, docs, small)
		r.figure("%d requests, failed %d, wrong %d, hits %d", len(during.took), during.failures, during.wrong, during.hits)
		r.figure("p99 %.1f ms before, %.1f ms during", before.p(0.99), during.p(0.99))
		r.figure("in use again %d ms after", time.Since(began).Milliseconds())
		return errors.Join(before.err(), during.err(), err)
	}
}
