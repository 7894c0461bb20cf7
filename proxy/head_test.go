package proxy

import (
	"bufio"
	"bytes"
	"net/textproto"
	"strings"
	"testing"
)

// Every way of cutting a head into reads shows the same line ends.
func TestABareLineFeedIsSeenHoweverTheHeadComes(t *testing.T) {
	f := func(raw string, bare bool, headEnd int) {
		t.Helper()
		for i := range len(raw) + 1 {
			for j := i; j <= len(raw); j++ {
				c := &conn{state: connScanning}
				for _, part := range []string{raw[:i], raw[i:j], raw[j:]} {
					if c.state == connScanning && !c.bare {
						c.scan([]byte(part))
					}
				}
				if c.bare != bare || (c.state == connBody) != (headEnd >= 0) {
					t.Fatalf("%q | %q | %q: bare %v, state %d", raw[:i], raw[i:j], raw[j:], c.bare, c.state)
				}
			}
		}
	}
	f("GET / HTTP/1.1\r\nHost: h\r\n\r\n", false, 0)
	f("GET / HTTP/1.1\r\nHost: h\r\n", false, -1)
	f("GET / HTTP/1.1\nHost: h\r\n\r\n", true, -1)
	f("GET / HTTP/1.1\r\nHost: h\n\r\n", true, -1)
	f("GET / HTTP/1.1\r\nHost: h\r\n\n", true, -1)
	f("\nGET / HTTP/1.1\r\n\r\n", true, -1)
	f("G\r\nA: \r\r\n\r\n", false, 0)
	f("G\r\n\r\n", false, 0)
	f("\r", false, -1)
	f("", false, -1)
}

// Behind the head comes a body, in which a line feed is a byte like any other.
func TestABodyIsNotScanned(t *testing.T) {
	const raw = "POST / HTTP/1.1\r\n\r\n"
	c := &conn{state: connScanning}
	c.scan([]byte(raw + "line\nline\n"))
	if c.bare || c.state != connBody {
		t.Errorf("bare %v, state %d", c.bare, c.state)
	}
}

func TestScanHeadRefuses(t *testing.T) {
	f := func(raw string) {
		t.Helper()
		var h head
		if scanHead([]byte(raw), &h) == nil {
			t.Errorf("%q was taken", raw)
		}
	}
	f("Host: h\n\r\n")
	f("Host: h\r\n folded\r\n\r\n")
	f("Host: h\r\n\tfolded\r\n\r\n")
	f("Host\r\n\r\n")
	f(": h\r\n\r\n")
	f("Host : h\r\n\r\n")
	f("Ho st: h\r\n\r\n")
	f("X: a\x00b\r\n\r\n")
	f("X: a\rb\r\n\r\n")
	f("X: a\x7fb\r\n\r\n")
	f("Xé: a\r\n\r\n")
	for _, single := range []string{"Host", "Content-Length", "Transfer-Encoding", "Content-Type", "Authorization", "Expect", "X-Request-Id"} {
		f(single + ": 1\r\n" + strings.ToUpper(single) + ": 1\r\n\r\n")
	}
	for _, twin := range []string{"Content_Length", "TRANSFER_ENCODING", "X_Api_Key", "Proxy_Authorization"} {
		f(twin + ": 1\r\n\r\n")
	}
}

// What we take, the standard library reads as the same fields.
func FuzzScanHead(f *testing.F) {
	for _, seed := range []string{
		"Host: h\r\nContent-Length: 5\r\n\r\n", "Host:h\r\nTransfer-Encoding:\tchunked \r\nX_Y: z\r\n\r\n",
		"Connection: a, b\r\nConnection: c\r\n\r\n", "A: \r\n\r\n", "Cache-Control: no-store\r\nrange: bytes=0-\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var h head
		whole := bytes.Index(raw, []byte("\r\n\r\n")) == len(raw)-4 && !bytes.HasPrefix(raw, []byte("\r\n"))
		if !whole || scanHead(raw, &h) != nil {
			return
		}
		theirs, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(raw))).ReadMIMEHeader()
		if err != nil {
			t.Fatalf("%q is taken, and not read: %v", raw, err)
		}
		if n := bytes.Count(raw, []byte("\r\n")) - 1; count(theirs) != n {
			t.Fatalf("%q: %d fields, they read %d", raw, n, count(theirs))
		}
		var flags headFlags
		for name, values := range theirs {
			flag, single := watched([]byte(strings.ToLower(name)))
			if flags |= flag; single && len(values) > 1 {
				t.Errorf("%q: they read %s %q", raw, name, values)
			}
		}
		for _, v := range theirs["Connection"] {
			if listsFields([]byte(v)) {
				flags |= hasListedFields
			}
		}
		if h.flags != flags {
			t.Errorf("%q: flags %b, want %b", raw, h.flags, flags)
		}
		if got, want := string(h.contentLen), theirs.Get("Content-Length"); got != want {
			t.Errorf("%q: length %q, they read %q", raw, got, want)
		}
		if got, want := string(h.transferCode), theirs.Get("Transfer-Encoding"); got != want {
			t.Errorf("%q: coding %q, they read %q", raw, got, want)
		}
		if got, want := len(h.connection), len(theirs.Values("Connection")); got != want {
			t.Errorf("%q: %d Connection fields, they read %d", raw, got, want)
		}
	})
}

func count(h textproto.MIMEHeader) (n int) {
	for _, values := range h {
		n += len(values)
	}
	return n
}

func FuzzFraming(f *testing.F) {
	for _, seed := range []string{"5", "05", "0", "", "+5", "99999999999999999999", "1 "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, length string) {
		digits := length != "" && strings.Trim(length, "0123456789") == ""
		if got, want := validLength([]byte(length)), digits && len(length) <= 18 && (length == "0" || length[0] != '0'); got != want {
			t.Errorf("%q: %v", length, got)
		}
	})
}
