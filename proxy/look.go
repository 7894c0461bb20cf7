package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"jaegis-proxy/internal/encoding"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// look is what the leader knows of an answer that its route looks into.
type look struct {
	reading *policy.Reading
	base    time.Time // from which the times in it count
	coding  string    // that is undone once all of it is there; empty: it is read as it comes
	done    bool      // the verdict is given
}

// heldBackBriefly bounds the answers whose head waits for them where most are
// stored: what says that a job is not done is small.
const heldBackBriefly = 64 << 10

// maxUncoded bounds what is read of a coded answer, by how often it is larger
// than the largest that is stored.
const maxUncoded = 8

// lookAtHead has the verdict on an answer's head heed what the route asks of it,
// and until when what it names can be used.
func (l *leader) lookAtHead(status int, header http.Header, d *policy.Decision) {
	if !d.Store {
		return
	}
	if reason := l.checkTags(header); reason != "" {
		refuse(d, reason)
		return
	}
	if l.route.Look == nil {
		return
	}
	if reason := l.route.Look.Head(status, header); reason != "" {
		refuse(d, reason)
		return
	}
	base := policy.Base(header, l.p.now())
	l.endBefore(d, l.route.Look.Expiry.Head(header, base), base)
}

// refuse has an answer not be stored, and not be given to others where what it
// says may be another by now.
func refuse(d *policy.Decision, reason policy.Reason) {
	d.Store, d.Reason = false, reason
	d.Share = d.Share && reason.Shareable()
}

// endBefore has an answer end before what it names does.
func (l *leader) endBefore(d *policy.Decision, end, base time.Time) {
	if end.IsZero() || !d.Store {
		return
	}
	lifetime, ok := d.Lifetime.EndBefore(end, base, l.p.now())
	if !ok {
		refuse(d, policy.ReasonExpired)
		d.Share = d.Share && end.After(base)
		return
	}
	d.Lifetime = lifetime
}

// lookInto has the answer read where the route asks for something in it.
func (l *leader) lookInto(resp *Response, head *answerHead) {
	rule := l.route.Look
	if rule == nil || l.route.readsAnswers() || !head.decision.Store || l.about.Method == "HEAD" || !rule.Reads(resp.Header.Get("Content-Type")) {
		return
	}
	coding := resp.Header.Get("Content-Encoding")
	switch {
	case resp.Status == http.StatusPartialContent:
		if rule.Strict() {
			l.turnDown(head, policy.ReasonPartial)
		}
		return
	case coding != "" && !encoding.Decodable(coding):
		if rule.Strict() {
			l.turnDown(head, policy.ReasonUnreadable)
		}
		return
	}
	base := policy.Base(resp.Header, l.p.now())
	l.look = &look{reading: rule.Reader(base), base: base, coding: coding}
	head.undecided, head.untagged = true, len(rule.Tags) > 0
	l.look.write(l.prefix) // the stored part that the answer completes
}

// write takes more of the answer.
func (k *look) write(p []byte) {
	if k.coding == "" {
		_, _ = k.reading.Write(p) // it does not fail
	}
}

// holdBack says how much of the answer is waited for before its head is given
// on; 0 when nothing is.
func (l *leader) holdBack(head *answerHead) int {
	switch {
	case !head.undecided || len(l.prefix) > 0:
		return 0
	case l.look == nil && l.ai.stream:
		return 0
	case l.look == nil || l.route.Look.Strict():
		return heldBack
	case head.length > heldBackBriefly, l.route.Rule.Freshness == policy.FreshnessOrigin: // little depends on it there
		return 0
	}
	return heldBackBriefly
}

// giveOn has the head of an answer speak for itself that is still coming: where
// the answer has to say something to be stored, nobody is given it who has not
// asked for it himself, for by then it may say something else.
func (l *leader) giveOn(head *answerHead) {
	switch {
	case l.look == nil || l.look.done:
	case l.route.Look.Strict():
		head.decision.Share = false
	default:
		head.undecided = false
	}
}

// refusedEarly gives the verdict on an answer that is not stored whatever comes
// of it yet.
func (l *leader) refusedEarly(head *answerHead) bool {
	if l.look == nil || l.look.reading.Refused() == "" {
		return false
	}
	l.look.done = true
	l.turnDown(head, l.look.reading.Refused())
	return true
}

// conclude gives the verdict on an answer that was looked into, once all of it
// is there.
func (l *leader) conclude(head *answerHead) {
	k := l.look
	if k.done || l.f.Sealed() {
		return
	}
	k.done = true
	found, err := l.read(k)
	head.undecided, head.untagged = false, false
	switch {
	case err != nil && l.route.Look.Strict():
		found.Reason = policy.ReasonUnreadable
	case found.Reason == "":
		l.bodyTags = found.Tags
		found.Reason = l.checkTags(toHeader(head.fields))
	}
	if found.Reason == "" {
		if l.endBefore(&head.decision, found.Expires, k.base); !head.decision.Store {
			found.Reason = head.decision.Reason
		}
	}
	if found.Reason != "" {
		l.turnDown(head, found.Reason)
		return
	}
	head.tags = l.tags(head.fields, head.at.key)
	l.p.refused.Invalidate(l.joinKey)
}

// read gives what was found in the whole answer.
func (l *leader) read(k *look) (policy.Found, error) {
	if k.coding == "" {
		return k.reading.Found(), nil
	}
	var body io.Reader = bytes.NewReader(l.prefix)
	if !l.whole {
		came := &asReader{source: (&spooledBody{l.f.Hold, l.f.Size()}).Open(l.p.ctx, 0, l.f.Size())}
		defer came.Close()
		body = came
	}
	err := l.readCoded(k.reading, k.coding, body)
	return k.reading.Found(), err
}

var errUncoded = errors.New("the answer is too large without its content coding")

// readCoded reads an answer without its coding.
func (l *leader) readCoded(to io.Writer, coding string, from io.Reader) error {
	r, err := encoding.NewReader(coding, from)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // it lets go of from
	bound := maxUncoded * l.route.MaxObjectBytes
	n, err := io.Copy(to, io.LimitReader(r, bound+1))
	if err == nil && n > bound {
		err = errUncoded
	}
	return err
}

// turnDown has an answer not be stored whose head was found good.
func (l *leader) turnDown(head *answerHead, reason policy.Reason) {
	head.undecided = false
	refuse(&head.decision, reason)
	l.p.refused.Set(l.joinKey, reason)
	if l.why != fetchPost {
		l.remember(&head.decision)
	}
	if l.stored != nil && reason.Unfinished() {
		l.p.forget(l.keys.base, l.route)
	}
}

// unfinished says whether the head of an answer tells that what is stored is not
// the last word any more: the work has begun anew.
func (l *leader) unfinished(d *policy.Decision, status int) bool {
	return l.stored != nil && !d.Store &&
		(d.Reason.Unfinished() || status == http.StatusAccepted && l.route.Rule.Freshness == policy.FreshnessRoute)
}

// lookAgain looks at a stored answer with new fields as if it had just come.
func (l *leader) lookAgain(e *store.Entry, header http.Header, d *policy.Decision) {
	l.lookAtHead(e.Status, header, d)
	rule := l.route.Look
	if rule == nil || l.route.readsAnswers() || !d.Store || e.Status == http.StatusPartialContent || !rule.Reads(header.Get("Content-Type")) {
		return
	}
	base := policy.Base(header, l.p.now())
	reading := rule.Reader(base)
	lost, err := l.readStored(reading, e, header.Get("Content-Encoding"))
	found := reading.Found()
	switch {
	case lost, err != nil && rule.Strict():
		refuse(d, policy.ReasonUnreadable)
	case found.Reason != "":
		refuse(d, found.Reason)
	default:
		l.bodyTags = found.Tags
		if reason := l.checkTags(header); reason != "" {
			refuse(d, reason)
		}
		l.endBefore(d, found.Expires, base)
	}
}

// readStored reads the body of a stored answer without its codings. It is lost if
// it is not to be had, which may be so for a moment.
func (l *leader) readStored(to io.Writer, e *store.Entry, coding string) (lost bool, err error) {
	body, err := l.p.plainReader(e)
	if err != nil {
		return true, err
	}
	defer body.Close()
	if coding == "" {
		_, err = io.Copy(to, body)
	} else {
		err = l.readCoded(to, coding, body)
	}
	return body.coded.failed, err
}
