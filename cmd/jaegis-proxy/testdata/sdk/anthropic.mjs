// Scenarios of the Anthropic SDK.
import Anthropic from '@anthropic-ai/sdk'

const model = 'claude-sonnet-4-6'
const client = (base, options) => new Anthropic({ baseURL: base, apiKey: 'key-of-alice', maxRetries: 1, ...options })
const request = (content, more) => ({ model, max_tokens: 2048, messages: [{ role: 'user', content }], ...more })
const tools = [{
  name: 'weather',
  input_schema: { type: 'object', properties: { city: { type: 'string' }, days: { type: 'array', items: { type: 'integer' } } } }
}]
const thinking = { type: 'enabled', budget_tokens: 1024 }

const message = (content, more) => async (base, emit) =>
  emit('message', await client(base).messages.create(request(content, more)))

const stream = (content, more) => async (base, emit) => {
  for await (const event of await client(base).messages.create(request(content, { stream: true, ...more }))) emit('event', event)
}

// The SDK's own reading of a stream, with its events and its final object.
const helper = (content, more) => async (base, emit) => {
  const s = client(base).messages.stream(request(content, { max_tokens: 4096, ...more }))
  s.on('text', (delta, whole) => emit('text', [delta, whole]))
  s.on('thinking', (delta, whole) => emit('thinking', [delta, whole]))
  s.on('signature', signature => emit('signature', signature))
  s.on('inputJson', (delta, whole) => emit('input', [delta, whole]))
  emit('message', await s.finalMessage())
}

const asking = apiKey => async (base, emit) =>
  emit('message', await client(base, { apiKey }).messages.create(request('something new')))

export const scenarios = {
  'message': message('say hello'),
  'message-tools': message('weather', { tools }),
  'message-text-and-tools': message('talk and call', { tools }),
  'message-thinking': message('think hard', { thinking }),
  'message-redacted': message('hide thoughts', { thinking }),
  'message-length': message('never end'),
  'stream': stream('say hello'),
  'stream-tools': stream('weather', { tools }),
  'stream-thinking': stream('think hard', { thinking }),
  'stream-redacted': stream('hide thoughts', { thinking }),
  'stream-length': stream('never end'),
  'helper': helper('say hello'),
  'helper-tools': helper('talk and call', { tools }),
  'helper-thinking': helper('think hard', { thinking }),

  async 'count-tokens' (base, emit) {
    const { max_tokens: _, ...counted } = request('say hello')
    emit('count', await client(base).messages.countTokens(counted))
  },

  // The first try fails.
  'recover': message('come again'),

  'fail-400': message('fail with 400'),
  'fail-401': message('fail with 401'),
  'fail-404': message('fail with 404'),
  'fail-429': message('fail with 429'),
  'fail-500': message('fail with 500'),
  'fail-stream-400': stream('fail with 400'),

  // The same request as stream, given up after some events.
  async 'abort' (base, emit) {
    const control = new AbortController()
    const events = await client(base).messages.create(request('say hello', { stream: true }), { signal: control.signal })
    for await (const event of events) {
      emit('event', event)
      control.abort()
    }
  },

  'alice': asking('key-of-alice'),
  'bob': asking('key-of-bob')
}
