package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"
)

// client is one keep-alive connection to a proxy. It is hand-written, so that
// it sees what a library would hide: how an answer ends. It is for one
// goroutine.
type client struct {
	addr string
	conn net.Conn
	br   *bufio.Reader
	zip  *gzip.Reader
	raw  []byte // of a coded body
}

// reply is an answer as it came. Its body is good until the next one.
type reply struct {
	status      int
	body        []byte
	whole       bool // it ended as its framing says
	length      int  // as announced; -1 without
	chunked     bool
	gzipped     bool
	closes      bool
	xCache      string
	cacheStatus string
	version     string // X-Version
	err         error  // why it is not whole
}

const (
	dialTime  = 10 * time.Second
	replyTime = 90 * time.Second // without an answer a request has failed
)

var errNoReply = errors.New("no reply")

// connect opens the connection if it is not open.
func (c *client) connect() error {
	if c.conn != nil {
		return nil
	}
	conn, err := net.DialTimeout("tcp", c.addr, dialTime)
	if err != nil {
		return err
	}
	c.conn = conn
	if c.br == nil {
		c.br = bufio.NewReaderSize(conn, 16<<10)
	} else {
		c.br.Reset(conn)
	}
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close() // there is nothing more to come
		c.conn = nil
	}
}

// send writes requests.
func (c *client) send(requests []byte) error {
	if err := c.conn.SetDeadline(time.Now().Add(replyTime)); err != nil {
		return err
	}
	_, err := c.conn.Write(requests)
	return err
}

// receive reads one answer into r. The error says that none came; one that
// began is in r, with what was wrong with its end.
func (c *client) receive(r *reply, head bool) error {
	*r = reply{body: r.body[:0], length: -1}
	if err := c.readHead(r); err != nil {
		return fmt.Errorf("%w: %w", errNoReply, err)
	}
	if head || r.status == 204 || r.status == 304 {
		r.whole = true
		return nil
	}
	into := &r.body
	if r.gzipped {
		into = &c.raw
		c.raw = c.raw[:0]
	}
	switch {
	case r.chunked:
		r.err = c.readChunks(into)
	case r.length >= 0:
		r.err = c.readN(into, r.length)
	default:
		r.err = errors.New("neither a length nor chunks")
	}
	if r.gzipped {
		if err := c.unzip(&r.body); err != nil && r.err == nil {
			r.err = fmt.Errorf("gzip: %w", err)
		}
	}
	r.whole = r.err == nil
	r.closes = r.closes || !r.whole
	return nil
}

func (c *client) readHead(r *reply) error {
	line, err := c.br.ReadSlice('\n')
	if err != nil {
		return err
	}
	if len(line) < 14 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return fmt.Errorf("no status line: %q", line)
	}
	if r.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return fmt.Errorf("no status line: %q", line)
	}
	for {
		line, err := c.br.ReadSlice('\n')
		if err != nil {
			return err
		}
		name, value, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\r\n")), []byte(": "))
		if len(name) == 0 {
			return nil
		}
		if !ok {
			return fmt.Errorf("no field line: %q", line)
		}
		if err := r.field(name, value); err != nil {
			return err
		}
	}
}

func (r *reply) field(name, value []byte) (err error) {
	switch string(name) {
	case "Content-Length":
		r.length, err = strconv.Atoi(string(value))
	case "Transfer-Encoding":
		r.chunked = string(value) == "chunked"
	case "Content-Encoding":
		r.gzipped = string(value) == "gzip"
	case "Connection":
		r.closes = string(value) == "close"
	case "X-Cache":
		r.xCache = xCacheOf(value)
	case "Cache-Status":
		r.cacheStatus = string(value)
	case "X-Version":
		r.version = string(value)
	}
	return err
}

// xCacheOf saves making a string for each of the few values that there are.
func xCacheOf(value []byte) string {
	switch string(value) {
	case "HIT":
		return "HIT"
	case "MISS":
		return "MISS"
	}
	return string(value)
}

func (c *client) readN(into *[]byte, n int) error {
	start := len(*into)
	*into = append(*into, make([]byte, n)...) // no second slice is made
	got, err := io.ReadFull(c.br, (*into)[start:])
	*into = (*into)[:start+got]
	return err
}

func (c *client) readChunks(into *[]byte) error {
	for {
		line, err := c.br.ReadSlice('\n')
		if err != nil {
			return noEOF(err)
		}
		size, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 16, 32)
		if err != nil {
			return err
		}
		if err := c.readN(into, int(size)); err != nil {
			return noEOF(err)
		}
		var end [2]byte
		if _, err := io.ReadFull(c.br, end[:]); err != nil {
			return noEOF(err)
		}
		if string(end[:]) != "\r\n" {
			return fmt.Errorf("a chunk ends in %q", end)
		}
		if size == 0 {
			return nil
		}
	}
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// unzip decodes what came in a coding, as far as it came.
func (c *client) unzip(into *[]byte) (err error) {
	src := bytes.NewReader(c.raw)
	if c.zip == nil {
		c.zip, err = gzip.NewReader(src)
	} else {
		err = c.zip.Reset(src)
	}
	if err != nil {
		return err
	}
	b := bytes.NewBuffer(*into)
	_, err = io.Copy(b, c.zip)
	*into = b.Bytes()
	return err
}
