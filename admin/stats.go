package admin

import "net/http"

// stats answers with what the process has done since it began.
func (s *Server) stats(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.opts.Stats())
}
