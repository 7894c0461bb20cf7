package admin

import (
	"net/http"
	"time"
)

// Health is how the process is. The zero value is one that is still starting.
type Health struct {
	Ready    bool // it has all that it needs to answer requests
	Draining bool // it is shutting down: send it no new requests
	Degraded []Degraded
}

// Degraded names a part that is not working, while requests are still
// answered. Error is shown to anyone who asks: no secrets in it.
type Degraded struct {
	Component string    `json:"component"` // for example "redis"
	Error     string    `json:"error"`
	Since     time.Time `json:"since"`
}

// The words of /readyz.
const (
	statusOK       = "ok"
	statusDegraded = "degraded"
	statusStarting = "starting"
	statusDraining = "draining"
)

func (h Health) status() string {
	switch {
	case h.Draining:
		return statusDraining
	case !h.Ready:
		return statusStarting
	case len(h.Degraded) > 0:
		return statusDegraded
	}
	return statusOK
}

// healthz says that the process serves, and nothing more: a part that is down
// is no reason to restart the process.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": statusOK, "version": s.opts.Version})
}

// readyz says whether to send requests here. Degraded is still ready: the
// cache being away costs no request.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	h := s.opts.Health()
	answer := struct {
		Status   string     `json:"status"`
		Degraded []Degraded `json:"degraded"`
	}{h.status(), h.Degraded}
	if answer.Degraded == nil {
		answer.Degraded = []Degraded{} // a list, also when it is empty
	}
	code := http.StatusOK
	if answer.Status == statusStarting || answer.Status == statusDraining {
		code = http.StatusServiceUnavailable
	}
	writeJSON(w, code, answer)
}
