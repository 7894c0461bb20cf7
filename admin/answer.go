package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// writeJSON sends v, one line of JSON. A client that is gone is no error of
// ours, so a failed write is not reported.
func writeJSON(w http.ResponseWriter, code int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("BUG: admin answer %T: %v", v, err))
	}
	body = append(body, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

// writeError sends an error in the form that all errors of the proxy have.
func writeError(w http.ResponseWriter, code int, kind, message string) {
	type detail struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	writeJSON(w, code, struct {
		Error detail `json:"error"`
	}{detail{kind, message}})
}

// refuse answers what matches no route. The mux knows whether it was the path
// or the method, and which methods there are, but says it in plain text: so
// its answer is taken without its body.
func refuse(w http.ResponseWriter, r *http.Request, h http.Handler) {
	said := headOnly{header: http.Header{}, code: http.StatusOK}
	h.ServeHTTP(&said, r)
	switch said.code {
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", said.header.Get("Allow"))
		writeError(w, said.code, "jaegis_method_not_allowed", "this path does not take that method")
	case http.StatusNotFound:
		writeError(w, said.code, "jaegis_not_found", "there is nothing at this path")
	default:
		writeError(w, http.StatusBadRequest, "jaegis_bad_request", "this is not a request for a path")
	}
}

// headOnly is a ResponseWriter that keeps the head and drops the body.
type headOnly struct {
	header http.Header
	code   int
}

func (h *headOnly) Header() http.Header         { return h.header }
func (h *headOnly) WriteHeader(code int)        { h.code = code }
func (h *headOnly) Write(p []byte) (int, error) { return len(p), nil }
