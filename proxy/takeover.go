package proxy

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"slices"

	"jaegis-proxy/store"
)

// An answer of another node that the store has ceased to bring is fetched by this
// one, as it would have been without other nodes, and goes on behind what its
// callers have got: if the two are the same as far as that goes, to the last
// byte, so that they have the second answer as a whole. Else they see it cut.

// errNotBrought says that the store does not bring any more what another node
// fetches.
var errNotBrought = errors.New("the store does not bring what another node fetches")

// errAnother is what such an answer is cut with when the upstream has given
// another one this time.
var errAnother = fmt.Errorf("%w: asked again, the upstream gave another answer", errBroken)

// given is what callers have got of another node's answer.
type given struct {
	head *answerHead
	sum  hash.Hash // of the bytes

	size   int64     // of them, once it goes on
	again  hash.Hash // of what has come of the second answer, up to that
	behind int64     // of that
}

func newGiven(head *answerHead) *given { return &given{head: head, sum: sha256.New()} }

// give gives callers bytes of another node's answer.
func (l *leader) give(p []byte, last bool) error {
	_, _ = l.given.sum.Write(p) // a hash takes all
	return l.f.Write(p, last)
}

// goOn begins to go on with the second answer, whose head it looks at.
func (l *leader) goOn(head *answerHead) error {
	g := l.given
	if !l.sameHead(g.head, head) {
		return errAnother
	}
	if !head.decision.Store {
		l.f.Seal()
	}
	g.size, g.again = l.f.Size(), sha256.New()
	return nil
}

// sameHead says whether an answer with the head is can be taken for the one that
// was given with the head was: it is for the same callers, and says the same of
// the bytes that are its body.
func (l *leader) sameHead(was, is *answerHead) bool {
	if is.status != was.status || !is.decision.Share || was.length >= 0 && is.length != was.length {
		return false
	}
	if is.at.alone != was.at.alone || !slices.Equal(is.at.names, was.at.names) || l.keys.at(&was.at) != was.at.key {
		return false
	}
	return !slices.ContainsFunc(ofTheBody, func(name string) bool {
		return !slices.Equal(values(was.fields, name), values(is.fields, name))
	})
}

// ofTheBody are the fields that say what a body is, or which one it is.
var ofTheBody = []string{
	"Content-Type", "Content-Encoding", "Content-Language", "Content-Location", "Content-Range", "Content-Disposition",
	"Etag", "Last-Modified", "Content-Digest", "Content-Md5", "Digest", "Repr-Digest", "Location",
}

func values(fields []store.Field, name string) (all []string) {
	for _, f := range fields {
		if f.Name == name {
			all = append(all, f.Value)
		}
	}
	return all
}

// write appends to the flight what comes from the upstream, less what callers
// have got from another node. That must be the same.
func (l *leader) write(p []byte, last bool) error {
	g := l.given
	if g == nil || g.behind == g.size {
		return l.f.Write(p, last)
	}
	n := min(int64(len(p)), g.size-g.behind)
	_, _ = g.again.Write(p[:n]) // a hash takes all
	g.behind += n
	switch {
	case g.behind < g.size && !last:
		return nil
	case g.behind < g.size, !bytes.Equal(g.again.Sum(nil), g.sum.Sum(nil)):
		return errAnother
	}
	return l.f.Write(p[n:], last)
}

// askAgain asks for what another node's answer is to go on with: for the whole,
// whatever is stored, and no client is told of anything but its bytes.
func (l *leader) askAgain() (*Response, error) {
	l.req.Interim = nil
	l.size, l.started = 0, l.p.now()
	l.joined.leave(l.tenant) // that one's request it is that fetches
	return l.do(l.f.Context())
}

// countTakeover counts one, if it is one that has ended.
func (l *leader) countTakeover(err error) {
	result := "whole"
	switch {
	case l.given == nil:
		return
	case errors.Is(err, errAnother):
		result = "other"
	case err != nil:
		result = "failed"
	}
	l.p.metrics.takeover(l.route, result)
}
