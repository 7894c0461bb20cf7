package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// What nodes tell each other of an answer, once at its head and once at its
// end, as JSON: a node takes no notice of what it does not know. Header fields
// are bytes there: they need not be text.

// wireHead is a head. Times of another node's clock are not in it, but for the
// lifetime, as in what is stored.
type wireHead struct {
	Status    int             `json:"status"`
	Fields    [][2][]byte     `json:"fields"`
	Length    int64           `json:"length"`
	Decision  policy.Decision `json:"decision"`
	Undecided bool            `json:"undecided"`
	Untagged  bool            `json:"untagged"`
	Stamp     store.Stamp     `json:"stamp"`
	Tags      [][]byte        `json:"tags"`
	Alias     []byte          `json:"alias"` // digest; empty without one
	Names     []string        `json:"names"`
	Epoch     uint64          `json:"epoch"`
	Alone     bool            `json:"alone"`
	Namespace string          `json:"namespace"`
	Provider  string          `json:"provider"`
	Digest    []byte          `json:"digest"`
}

func marshalHead(h *answerHead) []byte {
	w := wireHead{
		Status: h.status, Length: h.length, Decision: h.decision, Undecided: h.undecided, Untagged: h.untagged,
		Names: h.at.names, Epoch: h.at.epoch, Alone: h.at.alone,
		Namespace: h.at.key.Namespace, Provider: h.at.key.Provider, Digest: h.at.key.Digest[:],
		Stamp: h.stamp, Tags: make([][]byte, len(h.tags)),
		Fields: make([][2][]byte, len(h.fields)),
	}
	for i, f := range h.fields {
		w.Fields[i] = [2][]byte{[]byte(f.Name), []byte(f.Value)}
	}
	for i, tag := range h.tags {
		w.Tags[i] = []byte(tag)
	}
	if h.at.alias != (cachekey.Key{}) {
		w.Alias = h.at.alias.Digest[:]
	}
	return mustMarshal(&w)
}

func unmarshalHead(b []byte) (*answerHead, error) {
	var w wireHead
	if err := json.Unmarshal(b, &w); err != nil {
		return nil, err
	}
	h := &answerHead{
		status: w.Status, length: w.Length, decision: w.Decision, undecided: w.Undecided, untagged: w.Untagged, relayed: true,
		at:     place{names: w.Names, epoch: w.Epoch, alone: w.Alone, key: cachekey.Key{Namespace: w.Namespace, Provider: w.Provider}},
		fields: make([]store.Field, len(w.Fields)),
	}
	if copy(h.at.key.Digest[:], w.Digest) != len(h.at.key.Digest) || h.status < 200 || h.status > 999 || h.length < -1 {
		return nil, errors.New("not the head of an answer")
	}
	h.stamp, h.tags = w.Stamp, make([]string, len(w.Tags))
	for i, tag := range w.Tags {
		h.tags[i] = string(tag)
	}
	if len(w.Alias) > 0 {
		h.at.alias = h.at.key
		if copy(h.at.alias.Digest[:], w.Alias) != len(h.at.alias.Digest) {
			return nil, errors.New("not the head of an answer")
		}
	}
	for i, f := range w.Fields {
		h.fields[i] = store.Field{Name: string(f[0]), Value: string(f[1])}
	}
	return h, nil
}

// wireTail is what is known at the end: what the answer cost, which those who
// joined it have saved.
type wireTail struct {
	Usage   store.Usage   `json:"usage"`
	Took    time.Duration `json:"took"`
	Saves   bool          `json:"saves"`   // it was not a failure
	Refused policy.Reason `json:"refused"` // why the answer itself is not stored
}

func unmarshalTail(b []byte) (*wireTail, error) {
	var w wireTail
	return &w, json.Unmarshal(b, &w)
}

// tail gives it, once the flight is settled.
func (l *leader) tail() []byte {
	head, _ := l.f.Known()
	w := wireTail{Usage: l.usage(), Took: l.took, Saves: head.status/100 == 2}
	if l.ai != nil {
		w.Refused = l.ai.refused
		w.Saves = w.Saves && w.Refused != policy.ReasonAnswerError
	}
	return mustMarshal(&w)
}

// wireFailure says how the upstream failed, where that is its own doing.
type wireFailure struct {
	Kind    string `json:"kind"`
	Message string `json:"message"` // for the log
}

// failure tells of a failed fetch. Those that say nothing of the upstream are
// not passed on: who has had nothing yet claims again.
func failure(err error) store.Piece {
	for _, known := range upstreamFailures {
		if errors.Is(err, known.err) {
			return store.Piece{Kind: store.PieceFail, Data: mustMarshal(&wireFailure{known.kind, err.Error()})}
		}
	}
	return store.Piece{Kind: store.PieceAgain}
}

// failureOf is the error that a failure tells of.
func failureOf(b []byte) error {
	var w wireFailure
	if err := json.Unmarshal(b, &w); err != nil {
		return errBroken
	}
	for _, known := range upstreamFailures {
		if known.kind == w.Kind {
			return fmt.Errorf("%w: another node says: %s", known.err, w.Message)
		}
	}
	return errBroken
}

// upstreamFailures are the ways in which an upstream fails, with their names
// between nodes.
var upstreamFailures = []struct {
	kind string
	err  error
}{
	{"first-byte", errFirstByte},
	{"idle", errIdle},
	{"total", errTotal},
	{"connect", errConnect},
	{"unwritten", errUnwritten},
	{"malformed", errMalformedAnswer},
	{"not-resent", errNotResent},
	{"request", errBadRequest},
	{"part", errPart},
	{"broken", errBroken},
}

func mustMarshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error()) // plain values always marshal
	}
	return b
}
