package origintest

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// Wire is the response side of one request: bytes go out as they are written,
// one segment a call. After the first failed write, and once the connection is
// closed or reset, every further write does nothing. It is for one goroutine.
type Wire struct {
	conn    net.Conn
	closing <-chan struct{} // the origin is closing
	gone    chan struct{}   // the peer has closed the connection
	dead    bool
}

// run answers one request. It says whether the connection can be used again.
//
// While the handler runs another goroutine looks for the next request's first
// byte: that is how a peer that hangs up is noticed. It never takes a byte, and
// run waits for it, so the reader has one user at a time.
func (w *Wire) run(br *bufio.Reader, h Handler, r *Request) bool {
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		if _, err := br.Peek(1); err != nil {
			close(w.gone)
		}
	}()
	h(w, r)
	if w.dead || r.wantsClose() {
		_ = w.conn.Close()
	}
	<-looked
	return !w.dead
}

// Gone is closed when the peer has closed its side of the connection.
func (w *Wire) Gone() <-chan struct{} { return w.gone }

// Wait waits for one receive from gate (a closed gate lets all pass, a nil one
// is no gate). It says false when the peer or the origin went away first.
func (w *Wire) Wait(gate <-chan struct{}) bool {
	if gate == nil {
		return true
	}
	select {
	case <-gate:
		return true
	case <-w.gone:
	case <-w.closing:
	}
	w.Close()
	return false
}

// Raw writes s as it is.
func (w *Wire) Raw(s string) {
	if w.dead || s == "" {
		return
	}
	if _, err := w.conn.Write([]byte(s)); err != nil {
		w.Close()
	}
}

// Head writes a status line and the field lines given, and the empty line.
func (w *Wire) Head(status int, fields ...string) { w.Raw(Head(status, fields...)) }

// Close ends the connection in an orderly way (FIN).
func (w *Wire) Close() {
	w.dead = true
	_ = w.conn.Close()
}

// Reset ends the connection with RST; what the peer has not been sent is lost.
func (w *Wire) Reset() {
	w.dead = true
	if tcp, ok := w.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = w.conn.Close()
}

// End says how an answer ends.
type End int

// The ends.
const (
	EndClean    End = iota // as its framing says
	EndCut                 // FIN after the last piece: on a chunk boundary when chunked
	EndInChunk             // FIN in the middle of one more chunk
	EndHalfLast            // "0\r\n" and FIN, without the empty line
	EndReset               // RST after the last piece
)

// Reply is a script for one answer. Its zero value is an empty 200.
type Reply struct {
	Status  int      // 0 is 200
	Fields  []string // "Name: value" lines; framing fields are added
	Interim []int    // 1xx statuses to send before the head
	Pieces  []string // the body, written piece by piece
	Chunked bool     // one chunk a piece; else a Content-Length
	Claim   int      // the Content-Length to claim; 0 is the true one
	ToClose bool     // neither Content-Length nor chunks: FIN ends the body
	Trailer []string // trailer field lines, when Chunked
	End     End
	Extra   string // bytes to write after the answer's end
	Bodily  bool   // send the body where there must be none: HEAD, 204, 304

	HeadGate <-chan struct{} // waited for before the head
	Gate     <-chan struct{} // waited for before each piece and before the end
}

// Serve is the reply as a Handler.
func (p Reply) Serve(w *Wire, r *Request) {
	if !w.Wait(p.HeadGate) {
		return
	}
	for _, status := range p.Interim {
		w.Head(status, "Link: </style.css>; rel=preload")
	}
	status := p.Status
	if status == 0 {
		status = http.StatusOK
	}
	w.Raw(p.head(status))
	bodiless := r.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
	if bodiless && !p.Bodily {
		return
	}
	for _, piece := range p.Pieces {
		if !w.Wait(p.Gate) {
			return
		}
		if p.Chunked {
			piece = Chunk(piece)
		}
		w.Raw(piece)
	}
	if w.Wait(p.Gate) {
		p.end(w)
	}
}

func (p Reply) head(status int) string {
	fields := append([]string(nil), p.Fields...)
	length := p.Claim
	if length == 0 {
		for _, piece := range p.Pieces {
			length += len(piece)
		}
	}
	switch {
	case p.Chunked:
		fields = append(fields, "Transfer-Encoding: chunked")
	case !p.ToClose && status != http.StatusNoContent:
		fields = append(fields, "Content-Length: "+strconv.Itoa(length))
	}
	return Head(status, fields...)
}

func (p Reply) end(w *Wire) {
	switch p.End {
	case EndClean:
		if p.Chunked {
			w.Raw("0\r\n" + lines(p.Trailer) + "\r\n")
		}
		w.Raw(p.Extra)
		if p.ToClose {
			w.Close()
		}
	case EndCut:
		w.Close()
	case EndInChunk:
		w.Raw("ff\r\nhalf of a chu")
		w.Close()
	case EndHalfLast:
		w.Raw("0\r\n")
		w.Close()
	case EndReset:
		w.Reset()
	}
}

// Hangup closes the connection before any byte of an answer.
func Hangup(w *Wire, _ *Request) { w.Close() }

// Literal writes raw as it is and closes the connection.
func Literal(raw string) Handler {
	return func(w *Wire, _ *Request) {
		w.Raw(raw)
		w.Close()
	}
}

// Head gives the bytes of a response head; each field is a "Name: value" line.
func Head(status int, fields ...string) string {
	return fmt.Sprintf("HTTP/1.1 %d %s\r\n%s\r\n", status, http.StatusText(status), lines(fields))
}

// Chunk gives s as one chunk; an empty s gives nothing, not the final chunk.
func Chunk(s string) string {
	if s == "" {
		return ""
	}
	return strconv.FormatInt(int64(len(s)), 16) + "\r\n" + s + "\r\n"
}

// SSE gives each data as a server-sent event, to be used as Pieces.
func SSE(data ...string) []string {
	events := make([]string, len(data))
	for i, d := range data {
		events[i] = "data: " + strings.ReplaceAll(d, "\n", "\ndata: ") + "\n\n"
	}
	return events
}

func lines(fields []string) string {
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	return b.String()
}
