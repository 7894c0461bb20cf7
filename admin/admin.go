// Package admin is the second listener: health, metrics, and what an operator
// does by hand. It stands apart from the public listener, so that nothing here
// can be reached through the proxy, and it uses net/http: there is little
// traffic, and it has to be right before it is fast.
//
// It holds no state of its own. What it tells, it asks of the functions it is
// given.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"
)

// ErrTokenRequired is what Serve returns for a listener that other machines
// can reach when no token is set.
var ErrTokenRequired = errors.New("a token is required to listen beyond loopback")

// The bounds of the listener. A client that is slow at anything is cut off,
// and there are never more connections than these.
const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 15 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 16 << 10
	maxConnections = 512
	maxReports     = 4 // metrics and stats, being gathered at the same time
)

// Options is what the listener is made of. All but Token is required.
type Options struct {
	// Token is what callers must send as "Authorization: Bearer". When it is
	// empty the listener serves loopback alone, and refuses what a web page
	// opened on this machine could send it.
	Token   string
	Metrics prometheus.Gatherer
	Health  func() Health // asked on each request; must be quick and safe for concurrent use
	Stats   func() any    // likewise; what it gives is sent as JSON
	// Purge makes untrue whatever has the label (see store.Ledger), or stale; it
	// returns once that holds for every process, or why it may not.
	Purge   func(ctx context.Context, label string, soft bool) error
	Version string
	Logger  *slog.Logger
}

// Server answers on the admin listener. It is an http.Handler too, for use on
// a listener of the caller's own. It is safe for concurrent use.
type Server struct {
	opts    Options
	mux     *http.ServeMux
	reports chan struct{} // one place for each that may be gathered
	http    *http.Server
}

// New makes a Server; it does not listen yet.
func New(opts Options) *Server {
	s := &Server{opts: opts, mux: http.NewServeMux(), reports: make(chan struct{}, maxReports)}
	s.routes()
	s.http = &http.Server{
		Handler:                      s,
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(opts.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

// routes is the whole of what can be asked. open needs no token, guarded does.
func (s *Server) routes() {
	s.open("GET /healthz", s.healthz)
	s.open("GET /readyz", s.readyz)
	s.guarded("GET /metrics", s.bounded(s.metrics))
	s.guarded("GET /api/v1/stats", s.bounded(s.stats))
	s.guarded("POST /api/v1/purge", s.purge)
	s.guarded("DELETE /api/v1/cache/{key}", s.purgeKey)
}

func (s *Server) open(pattern string, h http.HandlerFunc) { s.mux.Handle(pattern, h) }

func (s *Server) guarded(pattern string, h http.HandlerFunc) {
	if s.opts.Token != "" {
		h = requireToken(s.opts.Token, h)
	}
	s.mux.Handle(pattern, h)
}

// ServeHTTP checks where a request comes from, then hands it to its route.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secureHeaders(w.Header())
	if s.opts.Token == "" {
		if why := localOnly(r); why != "" {
			writeError(w, http.StatusForbidden, "jaegis_forbidden", why)
			return
		}
	}
	h, pattern := s.mux.Handler(r)
	if pattern == "" {
		refuse(w, r, h)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// Serve answers on ln until Shutdown, and returns nil then. It closes ln.
func (s *Server) Serve(ln net.Listener) error {
	if s.opts.Token == "" && !isLoopback(ln.Addr()) {
		_ = ln.Close() // the reason not to serve is the error that counts
		return fmt.Errorf("admin listener on %s: %w", ln.Addr(), ErrTokenRequired)
	}
	err := s.http.Serve(netutil.LimitListener(ln, maxConnections))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("admin listener: %w", err)
}

// Shutdown stops listening and waits until the requests that run are answered,
// or until ctx ends; then it cuts what is left and says so by ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
