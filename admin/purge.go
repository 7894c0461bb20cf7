package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
)

// Purge says what is to be forgotten: one of its fields but Soft, which leaves
// it usable as what is stale is.
type Purge struct {
	Key       string `json:"key,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Route     string `json:"route,omitempty"`
	Tag       string `json:"tag,omitempty"`
	Tenant    string `json:"tenant,omitempty"`
	Model     string `json:"model,omitempty"`
	All       bool   `json:"all,omitempty"`
	Soft      bool   `json:"soft,omitempty"`
}

// maxPurge bounds what a purge is asked for by, in bytes.
const maxPurge = 64 << 10

var errOneThing = errors.New("say what to purge by exactly one of key, namespace, route, tag, tenant, model, and all")

// Label is the label that what is to be purged has. The error says what is wrong
// with the purge.
func (p *Purge) Label() (string, error) {
	var labels []string
	add := func(label, name string) {
		if name != "" {
			labels = append(labels, label+name)
		}
	}
	add(store.LabelKey, p.Key)
	add(store.LabelNamespace, p.Namespace)
	add(store.LabelRoute, p.Route)
	add(store.LabelTag, p.Tag)
	add(store.LabelTenant, p.Tenant)
	add(store.LabelModel, p.Model)
	if p.All {
		labels = append(labels, store.LabelAll)
	}
	if len(labels) != 1 {
		return "", errOneThing
	}
	if p.Key != "" {
		if _, err := cachekey.ParseKey(p.Key); err != nil {
			return "", err
		}
	}
	return labels[0], nil
}

// purge answers POST /api/v1/purge.
func (s *Server) purge(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPurge))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		writeError(w, http.StatusRequestEntityTooLarge, "jaegis_too_large", fmt.Sprintf("the body is larger than %d bytes", maxPurge))
		return
	}
	var p Purge
	if err == nil {
		err = decodeOne(body, &p)
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, "jaegis_bad_request", "the body must be one JSON object such as {\"tag\": \"reports\"}: "+err.Error())
		return
	}
	s.forget(w, r, &p)
}

// decodeOne reads one JSON object, all of it known.
func decodeOne(body []byte, p *Purge) error {
	if !strings.HasPrefix(string(bytes.TrimSpace(body)), "{") {
		return errOneThing
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	return nil
}

// purgeKey answers DELETE /api/v1/cache/{key}.
func (s *Server) purgeKey(w http.ResponseWriter, r *http.Request) {
	s.forget(w, r, &Purge{Key: r.PathValue("key")})
}

func (s *Server) forget(w http.ResponseWriter, r *http.Request, p *Purge) {
	label, err := p.Label()
	if err != nil {
		writeError(w, http.StatusBadRequest, "jaegis_bad_request", err.Error())
		return
	}
	if err := s.opts.Purge(r.Context(), label, p.Soft); err != nil {
		s.opts.Logger.Warn("purge failed", "label", label, "error", err)
		writeError(w, http.StatusServiceUnavailable, "jaegis_not_purged", notPurged(err))
		return
	}
	s.opts.Logger.Info("purged", "label", label, "soft", p.Soft)
	soft := p.Soft
	p.Soft = false
	writeJSON(w, http.StatusOK, struct {
		Purged *Purge `json:"purged"`
		Soft   bool   `json:"soft"`
	}{p, soft})
}

// notPurged says how far a purge has come, and what is to be done.
func notPurged(err error) string {
	said := "the purge is not in force everywhere, since the ledger of purges could not be written; ask again until it is"
	if errors.Is(err, store.ErrUnconfirmed) {
		said = "the purge is in force where processes are connected, but a failover of Redis would undo it; " +
			"bring a replica back that follows the primary (with a single one, that one), and ask again"
	}
	return said + ": " + strings.ReplaceAll(err.Error(), "\n", "; ")
}
