package proxy

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// relayResult is what came of following another node.
type relayResult int

const (
	relayed      relayResult = iota // the flight has ended with what came, or with an error
	relayGone                       // the node is gone, and nothing has come: somebody else is to fetch
	relayRefused                    // nothing has come of use: this node fetches, for its own callers
	relayLost                       // it does not come on, for no fault of the node: this one fetches and goes on behind it
)

// errCutElsewhere is what an answer is cut with when the node that fetched it is
// gone.
var errCutElsewhere = fmt.Errorf("%w: the node that fetched the answer is gone", errBroken)

// relay copies what another node fetches into the flight. asked is no later
// than that was asked for, and stamp what was known of purges then. As long as no
// head has come the callers have nothing of it, and it may still be fetched in
// another way; from then on the answer is that node's, or it is cut.
func (l *leader) relay(in store.Pieces, asked time.Time, stamp store.Stamp) (result relayResult) {
	defer in.Close()
	untrue := l.untrueSince(l.keys.base, asked, stamp)
	if untrue() { // this node knows better
		return relayRefused
	}
	l.lean(untrue)
	defer func() {
		if result != relayed {
			l.stand()
		}
	}()
	started := false
	defer func() {
		if r := recover(); r != nil {
			l.p.log.Error("panic in following another node", "panic", r, "stack", string(debug.Stack()))
			if result = relayRefused; started {
				l.cutRelay(fmt.Errorf("%w: internal error", errBroken))
				result = relayed
			}
		}
	}()
	head, result := l.relayHead(in, asked)
	if head == nil {
		return result
	}
	started = true
	head.joined = &l.joined
	l.mark(&head.decision)
	l.f.Start(*head, head.length, !head.decision.Store)
	if !head.decision.Share { // nothing more comes: all callers ask for themselves
		l.f.Close(nil)
		return relayed
	}
	l.given = newGiven(head)
	length := head.length
	if head.status == 204 || head.status == 304 {
		length = -1 // what the head says is of another body
	}
	tail, err := l.relayBody(in, length)
	switch {
	case errors.Is(err, errNotBrought):
		return relayLost
	case err != nil:
		l.cutRelay(err)
		return relayed
	}
	l.f.Close(nil)
	if tail.Saves {
		l.joined.end(func(tenant string) { l.p.savings.saved(l.route.Name, tenant, tail.Usage, tail.Took) })
	}
	if tail.Refused != "" {
		l.p.refused.Set(l.joinKey, tail.Refused)
	}
	return relayed
}

// relayShare is the part of the disk, one in so many, that the answer of another
// node may take for being ahead of those who get it here.
const relayShare = 8

// lean has the flight be that of another node's answer: it is of use while
// somebody reads, and what comes does not wait for those.
func (l *leader) lean(untrue func() bool) {
	l.f.Until(untrue)
	l.f.RunAhead(max(l.p.window(), l.p.spools.MaxDisk/relayShare))
	l.rest() // a refresh that another node is at need not be tried here
	l.f.Spare()
}

// stand has it be that of one of this node's own fetches again.
func (l *leader) stand() {
	l.f.Until(l.untrue(l.keys.base))
	l.f.RunAhead(l.p.window())
	if l.why == fetchRefresh || !l.route.CancelAbandoned {
		l.f.Keep()
	}
}

func (l *leader) cutRelay(err error) {
	l.f.Close(err)
	l.failed(err)
}

// relayHead waits for the head; it is nil when there is none that is of use.
func (l *leader) relayHead(in store.Pieces, asked time.Time) (*answerHead, relayResult) {
	piece, err := in.Next()
	switch {
	case l.f.Context().Err() != nil: // nobody waits any more
		l.cutRelay(context.Cause(l.f.Context()))
		return nil, relayed
	case errors.Is(err, store.ErrHolderGone), err == nil && piece.Kind == store.PieceAgain:
		return nil, relayGone
	case err != nil:
		return nil, relayRefused
	case piece.Kind == store.PieceFail:
		err := failureOf(piece.Data)
		if errors.Is(err, errConnect) || errors.Is(err, errUnwritten) { // nothing was sent, and this node may have a way of its own
			return nil, relayRefused
		}
		l.cutRelay(err)
		return nil, relayed
	case piece.Kind != store.PieceHead:
		return nil, relayRefused
	}
	head, err := unmarshalHead(piece.Data)
	if err != nil {
		return nil, relayRefused
	}
	head.asked, head.came = asked, l.p.now()
	if l.p.isOutdated(l.keys.base, l.origin, head) {
		return nil, relayRefused // this node knows better
	}
	return head, relayed
}

// relayBody copies the body. As with any flight, no reader sees the last byte
// of a body of known length before the end.
func (l *leader) relayBody(in store.Pieces, length int64) (*wireTail, error) {
	var lastly []byte
	for {
		piece, err := in.Next()
		switch {
		case err != nil && l.f.Context().Err() != nil:
			return nil, context.Cause(l.f.Context())
		case errors.Is(err, store.ErrHolderGone):
			return nil, errCutElsewhere
		case err != nil:
			return nil, errors.Join(errNotBrought, err)
		case piece.Kind == store.PieceBody && (length < 0 || l.size+int64(len(piece.Data)) <= length):
			l.size += int64(len(piece.Data))
			if l.size > l.route.MaxObjectBytes && !l.f.Sealed() {
				l.f.Seal()
				l.mark(&policy.Decision{Reason: reasonTooLarge})
			}
			if l.size == length {
				lastly = append([]byte{}, piece.Data...)
			} else if err := l.give(piece.Data, false); err != nil {
				return nil, err
			}
		case piece.Kind == store.PieceEnd && (length < 0 || l.size == length):
			tail, err := unmarshalTail(piece.Data)
			if err != nil {
				return nil, err
			}
			return tail, l.give(lastly, true)
		case piece.Kind == store.PieceFail:
			return nil, failureOf(piece.Data)
		case piece.Kind == store.PieceAgain: // that node has given it up, for a reason of its own
			return nil, errNotBrought
		default:
			return nil, errCutElsewhere
		}
	}
}
