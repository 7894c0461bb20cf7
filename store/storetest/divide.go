package storetest

import (
	"io"
	"net"
	"sync"
)

// A network that can be cut in two: each server is known to the others by the
// address of a relay, which tells by the address that somebody connects from on
// which side he is. The near side has the first server and the first sentinel,
// and whoever else is on this machine; the far side has the others.
const (
	nearSide = "127.0.0.2"
	farSide  = "127.0.0.3"
)

func side(far bool) string {
	if far {
		return farSide
	}
	return nearSide
}

type network struct {
	known   map[*Server]string
	running sync.WaitGroup

	mu        sync.Mutex
	divided   bool
	listeners []net.Listener
	crossing  map[net.Conn]bool // those that are open; true: from one side to the other
}

// Divide cuts the connections between the first primary, the first sentinel and
// this process on one side and all others on the other side, and allows no more,
// until it is called with false.
func (s *Sentinel) Divide(yes bool) {
	n := s.network
	n.mu.Lock()
	defer n.mu.Unlock()
	n.divided = yes
	for conn, crosses := range n.crossing {
		if yes && crosses {
			_ = conn.Close()
		}
	}
}

// Known gives the address by which the others know a server or sentinel. Its own,
// Addr, can be reached from everywhere.
func (s *Sentinel) Known(server *Server) string {
	if s.network == nil {
		return server.Addr
	}
	return s.network.known[server]
}

// add starts a relay for a server.
func (n *network) add(server *Server, far bool) (host, port string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	n.mu.Lock()
	n.listeners, n.known[server] = append(n.listeners, l), l.Addr().String()
	n.mu.Unlock()
	n.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			from, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
			n.running.Go(func() { n.relay(conn, server.Addr, far != (from == farSide)) })
		}
	})
	return net.SplitHostPort(l.Addr().String())
}

// relay serves a connection until either end closes it, or the network is cut.
func (n *network) relay(conn net.Conn, target string, crosses bool) {
	defer func() { _ = conn.Close() }()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	n.mu.Lock()
	if n.divided && crosses {
		n.mu.Unlock()
		return
	}
	if n.crossing == nil {
		n.crossing = map[net.Conn]bool{}
	}
	n.crossing[conn] = crosses
	n.mu.Unlock()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(conn, server)
		_ = conn.Close()
	})
	_, _ = io.Copy(server, conn)
	_ = server.Close()
	back.Wait()
	n.mu.Lock()
	delete(n.crossing, conn)
	n.mu.Unlock()
}

// close ends all of it.
func (n *network) close() {
	n.mu.Lock()
	n.divided = true
	for _, l := range n.listeners {
		_ = l.Close()
	}
	for conn := range n.crossing {
		_ = conn.Close()
	}
	n.mu.Unlock()
	n.running.Wait()
}
