package main

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// memory gives a field of the process's status, in bytes.
func (p *proc) memory(t *testing.T, name string) int64 {
	t.Helper()
	return p.told(t, "status", name) << 10
}

// told gives a number that the system tells of the process.
func (p *proc) told(t *testing.T, file, name string) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("there is no /proc here")
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in %s", name, file)
	return 0
}

// bigUpload is a form with one file of size bytes, a block over and over.
type bigUpload struct {
	boundary, name string
	block          []byte
	size           int
}

func (u *bigUpload) ends() (head, tail string) {
	head = "--" + u.boundary + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + u.name + "\"\r\nContent-Type: application/pdf\r\n\r\n" + u.name
	return head, "\r\n--" + u.boundary + "--\r\n"
}

func (u *bigUpload) length() int {
	head, tail := u.ends()
	return len(head) + u.size + len(tail)
}

// ask sends the upload and gives the answer. It writes large pieces to the
// socket and nothing else, so that most of the processor is the proxy's.
func (u *bigUpload) ask(s *session, path string) *reply {
	head, tail := u.ends()
	s.send(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\nContent-Type: multipart/form-data; boundary=%s\r\n\r\n%s", path, u.length(), u.boundary, head))
	for left := u.size; left > 0; left -= len(u.block) {
		_, _ = s.c.Write(u.block[:min(left, len(u.block))]) // an error shows in the answer
	}
	s.send(tail)
	return s.receive(http.MethodPost)
}

// sink is an upstream that reads bodies of known length, as fast as it can, and
// answers with how many bytes they had.
type sink struct {
	net.Listener
	calls atomic.Int64
}

func newSink(t *testing.T) *sink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{Listener: l}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

func (s *sink) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	br, buf := bufio.NewReaderSize(c, 64<<10), make([]byte, 1<<20)
	for {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		s.calls.Add(1)
		left := req.ContentLength
		n, err := br.Discard(int(min(left, int64(br.Buffered()))))
		for left -= int64(n); err == nil && left > 0; left -= int64(n) {
			n, err = c.Read(buf[:min(left, int64(len(buf)))])
		}
		if err != nil {
			return
		}
		answer := fmt.Sprintf("%d bytes", req.ContentLength)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
	}
}

// Sixteen uploads of 100 MB at once take 64 MiB of memory at most, and the
// same files once more reach nobody: they are hashed while they come in, and
// nothing of them is read but from the clients.
func TestLargeUploadsTakeLittleMemory(t *testing.T) {
	const clients, size, most = 16, 100_000_000, 64 << 20
	upstream := newSink(t)
	p := startPlain(t, fmt.Sprintf("upstreams: {docs: {url: \"http://%s\"}}\nroutes: [{name: docs, match: {path: /c/*}, ttl: 1h}]\nspool: {dir: %q}\n", upstream.Addr(), t.TempDir()))
	idle := p.memory(t, "VmRSS")
	block := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(block)
	for round, want := range []string{"MISS", "HIT"} {
		began, read := time.Now(), p.told(t, "io", "rchar")
		uploads, all := map[*client]*bigUpload{}, make([]*client, clients)
		for i := range all {
			all[i] = &client{s: connect(t, p.Addr)}
			_ = all[i].s.c.SetDeadline(time.Now().Add(10 * patience))
			uploads[all[i]] = &bigUpload{boundary: fmt.Sprintf("boundary-%d", round), name: fmt.Sprintf("%d.pdf", i), block: block, size: size}
		}
		each(t, all, want, func(c *client) error {
			u := uploads[c]
			got := u.ask(c.s, "/c/convert")
			if got.StatusCode != http.StatusOK || got.xCache() != want || string(got.Body) != fmt.Sprintf("%d bytes", u.length()) {
				return fmt.Errorf("status %d, %w, %s, %q", got.StatusCode, got.Err, got.status(), got.Body)
			}
			return nil
		})
		if read = p.told(t, "io", "rchar") - read; want == "HIT" && read > clients*size*11/10 {
			t.Errorf("%d MB were read for %d MB of uploads", read/1e6, clients*size/1_000_000)
		}
		peak := p.memory(t, "VmHWM")
		t.Logf("%s: %d MiB at rest, %d MiB at most, %v", want, idle>>20, peak>>20, time.Since(began).Round(time.Millisecond))
		if peak-idle > most {
			t.Errorf("%s: resident memory grew by %d MiB", want, (peak-idle)>>20)
		}
	}
	if n := upstream.calls.Load(); n != clients {
		t.Errorf("%d requests reached the upstream, want %d", n, clients)
	}
}
