package main

import (
	"fmt"
	"strings"
)

// oddRequest is a request with something wrong, or at least odd, about it, in
// which PATH stands for a path of its own. It may go on beyond its end.
type oddRequest struct{ name, raw string }

// hidden is a request that stands in a body: who loses track of where the body
// ends takes it for one.
const hidden = "GET PATH/hidden HTTP/1.1\r\nHost: h\r\n\r\n"

// oddRequests enumerates them, always in the same order.
func oddRequests() []oddRequest {
	var all []oddRequest
	for _, kind := range []func() []oddRequest{oddFields, oddPairs, oddLengths, oddChunks, oddTrailers, oddLines} {
		all = append(all, kind()...)
	}
	return all
}

// oddStrings are what some reader or other takes for an end, for a separator
// or for nothing.
func oddStrings() []string {
	return []string{
		"\x00", "\x01", "\t", "\n", "\v", "\f", "\r", " ", "\x7f", "\x80", "\xff",
		`"`, ",", ";", ":", "_", "+", "-", "0", "\r\n", "\r\n ", "\n ", "\r\n\r\n",
	}
}

// sized frames a body that holds a hidden request by a length; pieced by chunks.
func sized(fields string) string {
	return fmt.Sprintf("%sContent-Length: LENGTH\r\n\r\n%s", fields, hidden)
}

func pieced(fields, trailers string) string {
	return fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\nCHUNK\r\n%s\r\n0\r\n%s\r\n", fields, hidden, trailers)
}

// oddFields puts each odd string at each place of each field line that frames a
// request, says who sends it, or is about the connection.
func oddFields() (all []oddRequest) {
	f := func(rest, line string) {
		name, value, _ := strings.Cut(line, ": ")
		spots := []struct {
			name     string
			from, to int // of line, to be replaced
		}{
			{"before the name", 0, 0},
			{"in the name", len(name) / 2, len(name) / 2},
			{"before the colon", len(name), len(name)},
			{"for the colon", len(name), len(name) + 1},
			{"after the colon", len(name) + 1, len(name) + 1},
			{"before the value", len(name) + 2, len(name) + 2},
			{"in the value", len(name) + 2 + len(value)/2, len(name) + 2 + len(value)/2},
			{"after the value", len(line), len(line)},
		}
		for _, s := range spots {
			for _, odd := range oddStrings() {
				raw := strings.Replace(rest, line+"\r\n", line[:s.from]+odd+line[s.to:]+"\r\n", 1)
				all = append(all, oddRequest{fmt.Sprintf("%s: %q %s", name, odd, s.name), "POST PATH/x HTTP/1.1\r\n" + raw})
			}
		}
	}
	const host = "Host: h\r\n"
	f(sized(host), "Host: h")
	f(sized(host), "Content-Length: LENGTH")
	f(pieced(host, ""), "Transfer-Encoding: chunked")
	f(sized(host+"X-Hop: 1\r\nConnection: keep-alive, X-Hop\r\n"), "Connection: keep-alive, X-Hop")
	f(sized(host+"Expect: 100-continue\r\n"), "Expect: 100-continue")
	f(sized(host+"Content-Type: application/json\r\n"), "Content-Type: application/json")
	f(sized(host+"Authorization: Bearer token\r\n"), "Authorization: Bearer token")
	f(pieced(host+"Trailer: X-End\r\n", "X-End: 1\r\n"), "Trailer: X-End")
	f(sized(host+"TE: trailers\r\n"), "TE: trailers")
	f(sized(host+"Connection: Upgrade\r\nUpgrade: h2c\r\n"), "Upgrade: h2c")
	return all
}

// oddPairs are two field lines of a kind that differ or repeat each other.
func oddPairs() (all []oddRequest) {
	f := func(first, second, body string) {
		name := fmt.Sprintf("%q and %q", first, second)
		all = append(all, oddRequest{name, "POST PATH/x HTTP/1.1\r\nHost: h\r\n" + first + "\r\n" + second + "\r\n" + body})
	}
	framing := []string{
		"Content-Length: LENGTH", "Content-Length: 0", "Content-Length: 5", "Content-length: LENGTH",
		"Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Transfer-Encoding: gzip", "Transfer-Encoding:",
		"Transfer_Encoding: chunked", "Content_Length: 0", "X-Plain: 1",
	}
	for _, first := range framing {
		for _, second := range framing {
			f(first, second, "\r\n"+hidden)
			f(first, second, "\r\nCHUNK\r\n"+hidden+"\r\n0\r\n\r\n")
		}
	}
	for _, two := range [][2]string{
		{"Host: h", "Host: i"}, {"Authorization: Bearer a", "Authorization: Bearer b"}, {"Content-Type: a/b", "Content-Type: c/d"},
		{"Connection: close", "Connection: keep-alive"}, {"Expect: 100-continue", "Expect: 200-ok"}, {"TE: trailers", "TE: gzip"},
		{"Trailer: A", "Trailer: B"}, {"Upgrade: h2c", "Upgrade: websocket"}, {"X-Api-Key: a", "X-Api-Key: b"}, {"Cookie: a=1", "Cookie: a=2"},
	} {
		for _, pair := range [][2]string{two, {two[1], two[0]}, {two[0], two[0]}} {
			f(pair[0], pair[1], sized(""))
			f(pair[0], pair[1], pieced("", ""))
		}
	}
	return all
}

// oddLengths are values that are not a length, or not quite, or not the true one.
func oddLengths() (all []oddRequest) {
	for _, value := range []string{
		"", "+LENGTH", "-LENGTH", "0LENGTH", "0xLENGTH", "LENGTH.0", "LENGTHe0", "LENGTH,LENGTH", "LENGTH, LENGTH", "LENGTH, 5", "5, LENGTH",
		",LENGTH", "LENGTH,", "LENGTH;", "LENGTH LENGTH", "LENGTH\tLENGTH", "\"LENGTH\"", "'LENGTH'", "LENGTH_", "\u0663", "\uff15", "0", "00", "1", "5",
		"99999999999999999999", "18446744073709551616", "9223372036854775808", "4294967296", "1000000", "null", "chunked",
	} {
		raw := strings.Replace(sized("POST PATH/x HTTP/1.1\r\nHost: h\r\n"), "LENGTH", value, 1)
		all = append(all, oddRequest{fmt.Sprintf("length %q", value), raw})
	}
	return all
}

// oddChunks has each odd string at each place of a chunked body, and the body
// without each of its bytes.
func oddChunks() []oddRequest {
	return oddBodies("chunks", "5;e=1\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n", 0)
}

// oddTrailers does the same to what comes behind the last chunk.
func oddTrailers() []oddRequest {
	body := "5\r\nhello\r\n0;e\r\nX-End: 1\r\n\r\n"
	return oddBodies("trailers", body, strings.Index(body, "0;e"))
}

func oddBodies(what, body string, from int) (all []oddRequest) {
	const head = "POST PATH/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	for at := from; at <= len(body); at++ {
		for _, odd := range oddStrings() {
			all = append(all, oddRequest{fmt.Sprintf("%s: %q before %q", what, odd, body[at:]), head + body[:at] + odd + body[at:]})
		}
		if at < len(body) {
			all = append(all, oddRequest{fmt.Sprintf("%s: no %q before %q", what, body[at], body[at+1:]), head + body[:at] + body[at+1:]})
		}
	}
	return all
}

// oddLines has each odd string at each place of the request line.
func oddLines() (all []oddRequest) {
	parts := []string{"", "PO", "ST", " ", "PATH", "/x", "?a=b", " ", "HT", "TP", "/", "1", ".", "1", "\r\n"}
	rest := sized("Host: h\r\n")
	for i := range parts {
		before, after := strings.Join(parts[:i], ""), strings.Join(parts[i:], "")
		for _, odd := range oddStrings() {
			all = append(all, oddRequest{fmt.Sprintf("line: %q before %q", odd, after), before + odd + after + rest})
		}
		if parts[i] != "PATH" {
			all = append(all, oddRequest{fmt.Sprintf("line: no %q", parts[i]), before + after[len(parts[i]):] + rest})
		}
	}
	return all
}
