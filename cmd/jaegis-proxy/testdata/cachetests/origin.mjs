// The origin of the public cache tests, on a free loopback port that it prints.
// It takes the place of the package's own server, which listens on every
// interface, and ends when its standard input does.
import http from 'node:http'
import handleConfig from 'http-cache-tests/server/handle-config.mjs'
import handleState from 'http-cache-tests/server/handle-state.mjs'
import handleTest from 'http-cache-tests/server/handle-test.mjs'

const handlers = { config: handleConfig, state: handleState, test: handleTest }

const server = http.createServer((request, response) => {
  const [, first, ...rest] = new URL(request.url, 'http://origin').pathname.split('/')
  const handle = handlers[first]
  if (handle) return handle(rest, request, response)
  response.statusCode = 404
  response.end()
})

// The tests pause for seconds, and a connection that is closed just as the next
// request comes on it would fail a test that has nothing to do with it.
server.keepAliveTimeout = 5 * 60 * 1000

server.listen(0, '127.0.0.1', () => console.log(server.address().port))
process.stdin.resume().on('end', () => process.exit())
