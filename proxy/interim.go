package proxy

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// herald passes interim (1xx) answers on to the client that began the fetch,
// as they come and before anything of the answer (RFC 9110, section 15.2).
// They are never stored, and those who join the fetch are given none.
type herald struct {
	mu   sync.Mutex
	conn *conn // nil once the answer has begun
}

// heraldTime bounds the writing of an interim answer: the fetch is not held up
// by a client that does not read.
const heraldTime = time.Second

// newHerald is for this call; nil where interim answers cannot be passed on: to
// HTTP/1.0 clients, and behind an answer that still waits to be flushed.
func (c *call) newHerald() *herald {
	k, ok := c.ctx.Conn().(*conn)
	if !ok || !c.http11() || !k.alone {
		return nil
	}
	return &herald{conn: k}
}

// tell writes an interim answer.
func (h *herald) tell(status int, header http.Header) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	for _, f := range endToEnd(header) {
		fmt.Fprintf(&b, "%s: %s\r\n", f.Name, f.Value)
	}
	b.WriteString("\r\n")
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn == nil {
		return
	}
	_ = h.conn.SetWriteDeadline(time.Now().Add(heraldTime))
	if _, err := h.conn.Write(b.Bytes()); err != nil {
		_ = h.conn.Close() // half an interim answer may be on its way
		h.conn = nil
	}
}

// end sees to it that nothing more is written: the answer begins.
func (h *herald) end() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conn = nil
}
