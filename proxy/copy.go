package proxy

import (
	"io"
	"net/http"

	"jaegis-proxy/policy"
)

// copy moves the body into the flight until its verified end.
func (l *leader) copy(resp *Response) error {
	if l.whole || len(l.prefix) > 0 {
		if l.size = int64(len(l.prefix)); l.size > l.route.MaxObjectBytes {
			l.outgrow()
		}
		if err := l.write(l.prefix, l.whole); err != nil || l.whole {
			return err
		}
	}
	buf := getBuffer(32 << 10)
	defer putBuffer(buf)
	for {
		n, err := resp.Body.Read(*buf)
		l.size += int64(n)
		if l.size > l.route.MaxObjectBytes && !l.f.Sealed() {
			l.outgrow()
		}
		l.note((*buf)[:n])
		last := err == io.EOF // not what wraps it: that is a cut
		if l.completing && (l.size > resp.Length || last && l.size < resp.Length) || last && l.isShort(resp) {
			return errPart
		}
		if n > 0 || last {
			if werr := l.write((*buf)[:n], last); werr != nil {
				return werr
			}
		}
		if last {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// isShort says whether a part without a length has ended before its end.
func (l *leader) isShort(resp *Response) bool {
	if resp.Status != http.StatusPartialContent || resp.Length >= 0 || resp.Header.Get("Content-Encoding") != "" {
		return false
	}
	part, ok := policy.ParseContentRange(resp.Header.Get("Content-Range"))
	return ok && l.size < part.Len()
}

// outgrow gives up storing: the answer goes on to those who read it.
func (l *leader) outgrow() {
	l.f.Seal()
	if l.why != fetchPass && l.why != fetchPost {
		l.remember(&policy.Decision{Reason: reasonTooLarge})
	}
}
