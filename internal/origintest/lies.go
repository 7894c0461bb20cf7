package origintest

// Lie is a response that breaks the framing rules, as raw bytes to be given to
// Literal. Whoever believes it can be made to take one answer for another.
type Lie struct{ Name, Raw string }

// Lies gives the responses that a careful client refuses: each carries the body
// "hello" or nothing, and none may be passed on or stored.
func Lies() []Lie {
	const ok = "HTTP/1.1 200 OK\r\n"
	return []Lie{
		{"two Content-Lengths", ok + "Content-Length: 5\r\nContent-Length: 3\r\n\r\nhello"},
		{"list of Content-Lengths", ok + "Content-Length: 5, 3\r\n\r\nhello"},
		{"Content-Length with sign", ok + "Content-Length: +5\r\n\r\nhello"},
		{"negative Content-Length", ok + "Content-Length: -5\r\n\r\nhello"},
		{"Content-Length beside chunks", ok + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		{"blank in a field name", ok + "Content-Length : 3\r\n\r\nhello"},
		{"folded field", ok + "X-Fold: a\r\n b\r\nContent-Length: 5\r\n\r\nhello"},
		{"HTTP/2.0 in text", "HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"},
		{"unknown transfer coding", ok + "Transfer-Encoding: cow\r\n\r\nhello"},
		{"chunk size with prefix", ok + "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n"},
		{"chunk longer than its size", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n"},
		{"status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello"},
		{"no head at all", "hello\r\n\r\n"},
		{"head cut short", ok + "Content-Length: 5\r\nX-Cut"},
		{"control byte in a field", ok + "X-Nul: a\x00b\r\nContent-Length: 5\r\n\r\nhello"},
	}
}
