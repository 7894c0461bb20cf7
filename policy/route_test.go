package policy

import "testing"

func TestFirstMatchWins(t *testing.T) {
	m, err := NewMatcher([]Match{
		{Methods: []string{"POST"}, Path: "/v1/chat"},
		{Methods: []string{"GET"}, Path: "/v1/*"},
		{Hosts: []string{"api.example.com", "*.wild.example"}, Path: "/hosted/*"},
		{Methods: []string{"POST", "PUT"}, Path: "/v1/*"},
		{Path: "/any"},
		{Hosts: []string{"all.example"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	f := func(want int, method, host, path string) {
		t.Helper()
		if got := m.Find([]byte(method), []byte(host), []byte(path)); got != want {
			t.Errorf("%s %s%s: route %d, want %d", method, host, path, got, want)
		}
	}
	f(0, "POST", "h", "/v1/chat")
	f(3, "POST", "h", "/v1/chat/")
	f(3, "POST", "h", "/v1/chat;x.css")
	f(1, "GET", "h", "/v1/chat")
	f(1, "HEAD", "h", "/v1/")
	f(-1, "GET", "h", "/v1")
	f(-1, "get", "h", "/v1/x")
	f(3, "PUT", "h", "/v1/x")
	f(-1, "DELETE", "h", "/v1/x")
	f(4, "DELETE", "", "/any")
	f(-1, "DELETE", "", "/any/")
	f(2, "GET", "api.example.com", "/hosted/")
	f(2, "GET", "API.example.COM:8080", "/hosted/a")
	f(2, "GET", "a.b.wild.example", "/hosted/a")
	f(-1, "GET", "wild.example", "/hosted/a")
	f(-1, "GET", "notwild.example", "/hosted/a")
	f(-1, "GET", "[::1]:80", "/hosted/a")
	f(5, "PATCH", "all.example", "/")
}

func TestIPv6HostsMatchWithoutTheirPort(t *testing.T) {
	m, err := NewMatcher([]Match{{Hosts: []string{"[::1]"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"[::1]", "[::1]:8080"} {
		if m.Find([]byte("GET"), []byte(host), []byte("/")) != 0 {
			t.Errorf("%s: no match", host)
		}
	}
}

func TestMatchesThatCannotBeMeantAreErrors(t *testing.T) {
	for _, m := range []Match{{Path: "v1"}, {Path: "/a*b"}, {Path: "/a**"}, {Methods: []string{"post"}}, {Methods: []string{""}}} {
		if _, err := NewMatcher([]Match{m}); err == nil {
			t.Errorf("%+v: no error", m)
		}
	}
}
