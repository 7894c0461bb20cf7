package proxy

import (
	"bytes"
	"errors"
	"fmt"
)

// net/http reads answers leniently where two readers could disagree: it lets
// chunks win over a length, takes folded lines, bare LF, blanks before a colon
// and "HTTP/2.0 200". framing stands before it and follows the same bytes
// strictly (RFC 9112, sections 2.2, 4, 5 and 6): what cannot be read in one way
// alone never comes through whole, and what lies beyond an answer's end never
// comes through at all.

// errMalformedAnswer is an answer that cannot be trusted to mean one thing.
var errMalformedAnswer = errors.New("the upstream's answer is malformed")

func badAnswer(why string) error { return fmt.Errorf("%w: %s", errMalformedAnswer, why) }

// maxAnswerHead bounds one head of an answer, in bytes.
const maxAnswerHead = 1 << 20

// framingStep is what the next bytes of an answer must be:
//
//	status -> field ... -> sized | toClose | chunkSize | ended, or status behind a 1xx
//	chunkSize -> chunk -> chunkEnd -> chunkSize ... -> trailer ... -> ended
//	sized -> ended
type framingStep int

const (
	stepStatus    framingStep = iota // a status line
	stepField                        // a field line, or the empty one
	stepSized                        // the body, by its length
	stepToClose                      // the body, to the end of the connection
	stepChunkSize                    // a chunk's size, with extensions
	stepChunk                        // a chunk's bytes
	stepChunkEnd                     // CRLF behind them
	stepTrailer                      // a trailer field, or the empty line
	stepEnded
)

// framing follows one answer, however its bytes are split into reads. It is
// for one goroutine.
type framing struct {
	step framingStep
	head bool   // the request is a HEAD: its answer has no body
	line []byte // a line's beginning, while its end has not come
	room int    // bytes that lines may still take here
	left int64  // bytes to come of the body, or of the chunk

	status           int
	old              bool // HTTP/1.0
	lengths, codings int  // fields that say them
	length           int64
}

// begin waits for the answer to another request.
func (f *framing) begin(head bool) {
	*f = framing{head: head, line: f.line[:0], room: maxAnswerHead}
}

// ended says that the answer is whole.
func (f *framing) ended() bool { return f.step == stepEnded }

// pass reads on in p, and says how many bytes of it are of the answer: less
// than all when it ends within p, or when what follows breaks the rules.
func (f *framing) pass(p []byte) (n int, err error) {
	for n < len(p) && err == nil && f.step != stepEnded {
		var k int
		switch f.step {
		case stepToClose:
			k = len(p) - n
		case stepSized, stepChunk:
			k = int(min(f.left, int64(len(p)-n)))
			if f.left -= int64(k); f.left == 0 {
				f.bytesEnd()
			}
		default:
			k, err = f.passLine(p[n:])
		}
		n += k
	}
	return n, err
}

// bytesEnd is behind the last byte of a body with a length, or of a chunk.
func (f *framing) bytesEnd() {
	if f.step == stepChunk {
		f.step, f.room = stepChunkEnd, len("\r\n")
		return
	}
	f.step = stepEnded
}

// passLine reads a line, or what there is of it.
func (f *framing) passLine(p []byte) (int, error) {
	end := bytes.IndexByte(p, '\n') + 1
	n := end
	if end == 0 {
		n = len(p)
	}
	if f.room -= n; f.room < 0 {
		return 0, f.tooLong()
	}
	line := p[:n]
	if end == 0 || len(f.line) > 0 {
		f.line = append(f.line, line...)
		line = f.line
	}
	if end == 0 {
		return n, nil
	}
	f.line = f.line[:0]
	line, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok {
		return 0, badAnswer("a line does not end in CRLF")
	}
	if err := f.readLine(line); err != nil {
		return 0, err
	}
	return n, nil
}

func (f *framing) tooLong() error {
	if f.step == stepChunkEnd {
		return badAnswer("a chunk does not end where its size says")
	}
	return badAnswer("a line is too long")
}

// readLine takes a whole line, without CRLF.
func (f *framing) readLine(line []byte) error {
	switch f.step {
	case stepStatus:
		f.step = stepField
		return f.statusLine(line)
	case stepField:
		if len(line) == 0 {
			return f.headEnd()
		}
		return f.fieldLine(line)
	case stepChunkSize:
		return f.chunkSize(line)
	case stepChunkEnd: // there is no room for more than CRLF
		f.nextChunk()
		return nil
	case stepTrailer:
		if len(line) == 0 {
			f.step = stepEnded
			return nil
		}
		_, _, err := splitField(line)
		return err
	}
	panic("BUG: a line within a body")
}

func (f *framing) nextChunk() { f.step, f.room = stepChunkSize, maxChunkLine }

// chunkSize reads hex digits without sign or prefix, and skips extensions.
func (f *framing) chunkSize(line []byte) error {
	f.left = 0
	i := 0
	for ; i < len(line); i++ {
		d := hexDigit(line[i])
		if d < 0 {
			break
		}
		f.left = f.left<<4 | int64(d)
	}
	if i == 0 || i > 15 || i < len(line) && line[i] != ';' || hasControl(line[i:]) {
		return badAnswer("a chunk's size")
	}
	f.step = stepChunk
	if f.left == 0 {
		f.step, f.room = stepTrailer, maxTrailers
	}
	return nil
}
