package proxy

import (
	"context"
	"io"
	"strings"
	"time"

	"jaegis-proxy/internal/protocol"
	"jaegis-proxy/store"
)

// Pace says how the events of a stored stream are sent: all at once (the zero
// Pace), as they came, or so many a second.
type Pace struct {
	Original bool
	Interval time.Duration // between two events
}

// isStream says whether answers of this type are made of events.
func isStream(contentType string) bool {
	essence, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	switch strings.TrimSpace(essence) {
	case "text/event-stream", "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/stream+json":
		return true
	}
	return false
}

// chunk is a piece of an answer as it came.
type chunk struct {
	end int64 // its last byte's position, plus one
	at  time.Duration
}

// eventsOf makes events out of the pieces in which a body came: an event has
// come when its last byte has.
func eventsOf(contentType string, body []byte, chunks []chunk) []store.Event {
	var out []store.Event
	var before time.Duration
	for end := 0; end < len(body); {
		n := protocol.NextEvent(contentType, body[end:])
		end += n
		for len(chunks) > 1 && chunks[0].end < int64(end) {
			chunks = chunks[1:]
		}
		at := before
		if len(chunks) > 0 {
			at = max(before, chunks[0].at)
		}
		out = append(out, store.Event{Size: int64(n), After: at - before})
		before = at
	}
	return out
}

// paced is a stored stream on its way, event by event. Its context ends the
// waiting.
type paced struct {
	ctx         context.Context
	contentType string
	rest        []byte
	pace        Pace
	events      []store.Event
	begun       bool
}

// Next implements source.
func (p *paced) Next() ([]byte, error) {
	if len(p.rest) == 0 {
		return nil, io.EOF
	}
	n, wait := 0, p.pace.Interval
	if p.pace.Original && len(p.events) > 0 {
		n, wait = int(min(p.events[0].Size, int64(len(p.rest)))), p.events[0].After
		p.events = p.events[1:]
	} else {
		n = protocol.NextEvent(p.contentType, p.rest)
	}
	if p.begun || p.pace.Original {
		if err := pause(p.ctx, wait); err != nil {
			return nil, err
		}
	}
	p.begun = true
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b, nil
}

// Close implements source.
func (p *paced) Close() {}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
