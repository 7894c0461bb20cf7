package main

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
)

// demoOperation is one kind of request that the demo sends.
type demoOperation struct {
	name    string // for people
	counter string // the sample upstream's name for it
	request func(base string, variant int) (*http.Request, error)
}

// demoOperations gives them in the order of the table.
func demoOperations() []demoOperation {
	return []demoOperation{
		{"convert a document", "convert", demoUpload},
		{"chat completion", "chat", demoPost("/v1/chat/completions", func(variant int) string { return demoChat(variant, false) })},
		{"chat, streamed", "chat", demoPost("/v1/chat/completions", func(variant int) string { return demoChat(variant, true) })},
		{"embeddings of a batch", "embeddings", demoPost("/v1/embeddings", func(variant int) string {
			return fmt.Sprintf(`{"model":"sample-embed","input":["invoice %d","delivery note %d","reminder %d"]}`, variant, variant, variant)
		})},
		{"fetch a template", "templates", func(base string, variant int) (*http.Request, error) {
			return http.NewRequest(http.MethodGet, fmt.Sprintf("%s/templates/invoice-%d", base, variant), nil)
		}},
		{"run a build", "builds", demoPost("/builds", func(variant int) string {
			return fmt.Sprintf(`{"project":"handbook","revision":"r%d","targets":["pdf","html"]}`, variant)
		})},
	}
}

func demoChat(variant int, stream bool) string {
	extra := ""
	if stream {
		extra = `"stream":true,"stream_options":{"include_usage":true},`
	}
	return fmt.Sprintf(`{"model":"sample-chat",%s"messages":[{"role":"user","content":"Summarise invoice number %d."}]}`, extra, variant)
}

func demoPost(path string, body func(variant int) string) func(string, int) (*http.Request, error) {
	return func(base string, variant int) (*http.Request, error) {
		req, err := http.NewRequest(http.MethodPost, base+path, strings.NewReader(body(variant)))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		return req, nil
	}
}

// demoUpload makes an upload as clients do: with another boundary each time.
func demoUpload(base string, variant int) (*http.Request, error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", fmt.Sprintf("report-%d.txt", variant))
	if err != nil {
		return nil, err
	}
	line := fmt.Sprintf("Line of report number %d, as long as such lines are.\n", variant)
	if _, err := io.WriteString(part, strings.Repeat(line, 400)); err != nil {
		return nil, err
	}
	if err := form.WriteField("language", "en"); err != nil {
		return nil, err
	}
	if err := form.Close(); err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, base+"/convert/pdf", &body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	return req, nil
}

// demoHints says what runs where, and what to try by hand.
func demoHints(proxy, upstream, admin, credential string) string {
	auth := fmt.Sprintf("-H 'Authorization: %s'", credential)
	jsonType := "-H 'Content-Type: application/json'"
	own := `{"model":"sample-chat","messages":[{"role":"user","content":"A question of your own"}]}`
	var b strings.Builder
	fmt.Fprintf(&b, "\nproxy     %s\nupstream  %s (the sample, without a cache)\nadmin     http://%s\n\nTry, in another terminal:\n", proxy, upstream, admin)
	hint := func(say, line string) { fmt.Fprintf(&b, "\n# %s\n%s\n", say, line) }
	hint("asked above, so it is a hit: see X-Cache, Cache-Status and Age",
		fmt.Sprintf("curl -si %s/v1/chat/completions %s %s -d '%s'", proxy, auth, jsonType, demoChat(demoFirst, false)))
	hint("new: slow the first time, and at once when you repeat it",
		fmt.Sprintf("curl -s -w '\\n%%{time_total} s\\n' %s/v1/chat/completions %s %s -d '%s'", proxy, auth, jsonType, own))
	hint("the same question with another credential is another caller's: it is asked anew",
		fmt.Sprintf("curl -si %s/v1/chat/completions -H 'Authorization: Bearer somebody-else' %s -d '%s'", proxy, jsonType, own))
	hint("a stream, replayed from the cache",
		fmt.Sprintf("curl -sN %s/v1/chat/completions %s %s -d '%s'", proxy, auth, jsonType, demoChat(demoFirst, true)))
	hint("a document",
		fmt.Sprintf("curl -si %s/convert/pdf %s -F 'file=some text;filename=hello.txt;type=text/plain'", proxy, auth))
	hint("a template",
		fmt.Sprintf("curl -si %s/templates/letter %s", proxy, auth))
	hint("what the proxy counts",
		fmt.Sprintf("curl -s http://%s/metrics", admin))
	b.WriteString("\nCtrl-C ends the demo.\n")
	return b.String()
}
