package main

import (
	"fmt"
	"strings"

	"jaegis-proxy/internal/origintest"
)

// oddAnswer is what an upstream may send that is no plain answer.
type oddAnswer struct{ name, method, raw string }

const (
	cacheField     = "Cache-Control: max-age=3600\r\n"
	answerByLength = "HTTP/1.1 200 OK\r\n" + cacheField + "Content-Length: 5\r\n\r\nhello"
	answerByChunks = "HTTP/1.1 200 OK\r\n" + cacheField + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"

	// evilAnswer is sent behind each odd answer: it must never be the answer to
	// anything.
	evilAnswer = "HTTP/1.1 200 OK\r\n" + cacheField + "Content-Length: 4\r\n\r\nevil"
)

// oddBytes are put into every place where they might be read in two ways.
var oddBytes = []string{
	"\x00", "\x01", "\t", "\n", "\v", "\f", "\r", "\x1f", " ", "\"", ",", ";", ":", "_", "+", "-", "0", "5", "x", "\x7f", "\x80", "\xff",
	"\r\n", "\r\n ", "\n ", "\r\n\r\n",
}

// oddAnswers gives all of them.
func oddAnswers() []oddAnswer {
	var all []oddAnswer
	add := func(name, raw string) { all = append(all, oddAnswer{name, "GET", raw}) }
	for _, lie := range origintest.Lies() {
		add(lie.Name, strings.Replace(lie.Raw, "\r\n", "\r\n"+cacheField, 1))
	}
	// Every place that has a meaning in the status line, in a framing field and
	// in the chunks, before each of these and behind the last.
	places := []string{"HTTP", "/1.1", "1.1", " 200", "200", "00 OK", " OK", "\r\nCache", "\nCache"}
	insert := func(base string, places ...string) {
		for _, at := range places {
			i := strings.Index(base, at)
			for _, odd := range oddBytes {
				add(fmt.Sprintf("%q before %q", odd, at), base[:i]+odd+base[i:])
				add(fmt.Sprintf("%q for what begins %q", odd, at), base[:i]+odd+base[i+1:])
			}
		}
	}
	insert(answerByLength, append(places, "Content-L", "Length", ": 5", " 5\r", "5\r\n\r", "\r\n\r\nhello", "\n\r\nhello", "\r\nhello", "\nhello")...)
	insert(answerByChunks, "Transfer", "Encoding", ": ch", " chunked", "chunked", "unked", "\r\n\r\n5", "\n\r\n5", "\r\n5", "\n5",
		"5\r\nhello", "\r\nhello", "\nhello", "\r\n0", "\n0", "0\r\n\r\n")
	for _, base := range []string{answerByLength, answerByChunks} {
		add("an answer and another", base)
	}
	all = append(all, oddAnswerFramings()...)
	return append(all, oddAnswerBodies()...)
}

// oddAnswerFramings are framing fields with values that conflict, repeat or mean
// nothing.
func oddAnswerFramings() []oddAnswer {
	var all []oddAnswer
	const chunks = "5\r\nhello\r\n0\r\n\r\n"
	add := func(fields ...string) {
		raw := "HTTP/1.1 200 OK\r\n" + cacheField + strings.Join(fields, "\r\n") + "\r\n\r\n"
		all = append(all, oddAnswer{fmt.Sprintf("%q", fields), "GET", raw + chunks}, oddAnswer{fmt.Sprintf("HEAD %q", fields), "HEAD", raw + chunks})
	}
	for _, length := range []string{"", "5, 5", "5,3", "+5", "-5", "05", "00", "0x5", "5.0", "5e0", "1_0", "5 5", "5;", "\"5\"", "five", "18446744073709551621", "9223372036854775807"} {
		add("Content-Length: " + length)
	}
	for _, coding := range []string{"", "identity", "gzip", "cow", "gzip, chunked", "chunked, gzip", "chunked, chunked", "xchunked", ",chunked", "chunked,", "chunked;q=1", "\"chunked\""} {
		add("Transfer-Encoding: " + coding)
		add("Content-Length: 5", "Transfer-Encoding: "+coding)
		add("Transfer-Encoding: chunked", "Transfer-Encoding: "+coding)
	}
	for _, twice := range []string{"5", "3", "0", "16"} {
		add("Content-Length: 5", "Content-Length: "+twice)
		add("Content-Length: 5", "X-Between: x", "CONTENT-LENGTH: "+twice)
	}
	add("Transfer-Encoding: chunked", "Content-Length: 5")
	add("Transfer-Encoding: chunked", "Content-Length: 0")
	add("Transfer-Encoding: Chunked")
	add("Transfer_Encoding: chunked", "Content_Length: 5")
	return all
}

// oddAnswerBodies are bodies where there can be none, and chunks that are none.
func oddAnswerBodies() []oddAnswer {
	var all []oddAnswer
	framings := []string{"", "Content-Length: 5\r\n", "Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n"}
	for _, status := range []string{"100 Continue", "101 Switching Protocols", "102 Processing", "103 Early Hints", "199 x", "204 No Content", "304 Not Modified", "205 Reset Content", "000 x", "600 x", "999 x"} {
		for _, framing := range framings {
			for _, method := range []string{"GET", "HEAD"} {
				all = append(all, oddAnswer{fmt.Sprintf("%s %q", status, framing), method, "HTTP/1.1 " + status + "\r\n" + cacheField + framing + "\r\nhello"})
			}
			all = append(all, oddAnswer{"then an answer: " + status + framing, "GET", "HTTP/1.1 " + status + "\r\n" + framing + "\r\n" + answerByLength})
		}
	}
	for _, version := range []string{"HTTP/1.0", "HTTP/1.2", "HTTP/0.9", "HTTP/2.0", "HTTP/2", "HTTP/3.0", "http/1.1", "HTTP/11", "ICY", "HTTP/1.1.1"} {
		for _, base := range []string{answerByLength, answerByChunks} {
			all = append(all, oddAnswer{version, "GET", strings.Replace(base, "HTTP/1.1", version, 1)})
		}
	}
	for _, chunks := range []string{
		"0x5\r\nhello\r\n0\r\n\r\n", "-5\r\nhello\r\n0\r\n\r\n", "FFFFFFFFFFFFFFFF5\r\nhello\r\n0\r\n\r\n", "10000000000000005\r\nhello\r\n0\r\n\r\n",
		"5;a=b;c=\"d\"\r\nhello\r\n0\r\n\r\n", "5;a=\"\r\nhello\r\n0\r\n\r\n", "5 ;a\r\nhello\r\n0\r\n\r\n", "5;a\rb\r\nhello\r\n0\r\n\r\n", "5;" + strings.Repeat("a", 1<<20) + "\r\nhello\r\n0\r\n\r\n",
		"4\r\nhello\r\n0\r\n\r\n", "6\r\nhello\r\n0\r\n\r\n", "5\r\nhello0\r\n\r\n", "5\r\nhello\r\n0\r\n", "5\r\nhello\r\n", "5\r\nhello\r\n\r\n0\r\n\r\n",
		"5\r\nhello\r\n0\r\nX-T: a\r\n\r\n", "5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n", "5\r\nhello\r\n0\r\nX : a\r\n\r\n", "5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n", "5\r\nhello\r\n0\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n",
		"00000005\r\nhello\r\n0000\r\n\r\n",
	} {
		all = append(all, oddAnswer{fmt.Sprintf("chunks %.40q", chunks), "GET", "HTTP/1.1 200 OK\r\n" + cacheField + "Transfer-Encoding: chunked\r\n\r\n" + chunks})
	}
	return all
}
