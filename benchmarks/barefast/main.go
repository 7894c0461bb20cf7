// Command barefast is the floor that the proxy is measured against: fasthttp
// answering every request with the same bytes from memory, and doing nothing
// else.
package main

import (
	"flag"
	"log"
	"os"

	"github.com/valyala/fasthttp"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to answer on")
	file := flag.String("body", "", "file that holds the answer's body")
	flag.Parse()
	body, err := os.ReadFile(*file)
	if err != nil {
		log.Fatal(err)
	}
	server := &fasthttp.Server{
		NoDefaultServerHeader: true,
		MaxRequestBodySize:    8 << 20,
		Handler: func(ctx *fasthttp.RequestCtx) {
			ctx.SetContentType("application/json")
			ctx.SetBody(body)
		},
	}
	log.Fatal(server.ListenAndServe(*listen))
}
