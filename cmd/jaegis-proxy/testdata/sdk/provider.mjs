// The provider behind the proxy: aimock, on a free loopback port that it
// prints. It ends when its standard input does. Answers are chosen by a part of
// the prompt, whatever the API. What aimock would make up anew for each answer
// (ids, times) is given where it lets us.
import { LLMock, buildEmbeddingResponse, generateDeterministicEmbedding } from '@copilotkit/aimock'

const provider = new LLMock({ host: '127.0.0.1', port: 0, chunkSize: 7, logLevel: 'silent' })

const common = { id: 'answer-1', created: 1_700_000_000 }
const usage = { prompt_tokens: 11, completion_tokens: 7, input_tokens: 11, output_tokens: 7, promptTokenCount: 11, candidatesTokenCount: 7 }
const both = [
  { id: 'call_paris', name: 'weather', arguments: '{"city":"Paris","days":[1,2,3]}' },
  { id: 'call_oslo', name: 'weather', arguments: '{"city":"Oslo","days":[]}' }
]
const reasoning = 'First the question, then what is known of it, then the answer.'

const answer = (prompt, response) => provider.onMessage(prompt, response)
// Gemini ends with STOP also when it calls functions.
provider.on({ userMessage: 'weather', model: /^gemini/ }, { ...common, usage, toolCalls: both, finishReason: 'stop' })
answer('say hello', { ...common, usage, content: 'Hello, wörld — how are you? 👋 And "so" on.\nGoodbye.' })
answer('weather', { ...common, usage, toolCalls: both })
answer('talk and call', { ...common, usage, content: 'I shall look it up.', toolCalls: both })
answer('think hard', { ...common, usage, reasoning, reasoningSignature: 'c2lnbmF0dXJl', content: 'It is 42.' })
answer('hide thoughts', { ...common, usage, reasoning, redactedThinking: ['b3BhcXVl'], content: 'It is 43.' })
answer('as an object', { ...common, usage, content: '{"name":"Ada","born":1815,"fields":["mathematics","computing"]}' })
answer('never end', { ...common, usage, content: 'This goes on and', finishReason: 'length' })

// Each answer is another one, so that two that are the same are one answer.
let answers = 0
answer('something new', () => ({ ...common, usage, content: `answer number ${++answers} of all` }))

const fail = (status, type, more) => answer(`fail with ${status}`, { status, error: { type, message: `no: ${status}`, code: `code-${status}` }, ...more })
fail(400, 'invalid_request_error')
fail(401, 'authentication_error')
fail(404, 'not_found_error')
fail(429, 'rate_limit_error', { retryAfter: 1 })
fail(500, 'server_error')

// Every other time it is too many requests.
let tries = 0
answer('come again', () => ++tries % 2
  ? { status: 429, retryAfter: 1, error: { type: 'rate_limit_error', message: 'come again' } }
  : { ...common, usage, content: 'Here I am.' })

// aimock has no embeddings in base64, for which the openai SDK asks unless told
// otherwise, and counts no tokens for them.
function items (input) {
  if (typeof input === 'string') return [input]
  return input.every(Number.isInteger) ? [input] : input
}

function embeddings ({ input, model, encoding_format: format, dimensions = 8 }) {
  const all = items(input).map(item => ({
    vector: generateDeterministicEmbedding(JSON.stringify(item), dimensions),
    tokens: typeof item === 'string' ? item.split(' ').length : item.length
  }))
  const tokens = all.reduce((n, item) => n + item.tokens, 0)
  const encode = vector => format === 'base64' ? Buffer.from(Float32Array.from(vector).buffer).toString('base64') : vector
  return buildEmbeddingResponse(all.map(item => encode(item.vector)), model, { prompt_tokens: tokens, total_tokens: tokens })
}

// aimock has no token counting for Anthropic.
const countTokens = ({ messages }) => ({ input_tokens: JSON.stringify(messages).length })

const mount = (path, answer) => provider.mount(path, {
  async handleRequest (request, response) {
    const body = []
    for await (const piece of request) body.push(piece)
    response.writeHead(200, { 'Content-Type': 'application/json' })
    response.end(JSON.stringify(answer(JSON.parse(Buffer.concat(body)))))
    return true
  }
})

// Nor has it Gemini's batches of embeddings.
const batchEmbed = ({ requests }) => ({
  embeddings: requests.map(({ content }) => ({ values: generateDeterministicEmbedding(JSON.stringify(content.parts), 8) }))
})

mount('/v1/embeddings', embeddings)
mount('/v1beta/models/gemini-embedding-001:batchEmbedContents', batchEmbed)
mount('/v1/messages/count_tokens', countTokens)

await provider.start()
console.log(provider.port)
process.stdin.resume().on('end', () => process.exit())
