// Scenarios of the openai SDK.
import OpenAI, { toFile } from 'openai'

const model = 'gpt-5.2'
const client = (base, options) => new OpenAI({ baseURL: `${base}/v1`, apiKey: 'key-of-alice', maxRetries: 1, ...options })
const user = content => [{ role: 'user', content }]
const weather = {
  name: 'weather',
  parameters: { type: 'object', properties: { city: { type: 'string' }, days: { type: 'array', items: { type: 'integer' } } } }
}
const tools = [{ type: 'function', function: weather }]

async function each (stream, emit) {
  for await (const event of stream) emit('event', event)
}

const chat = (content, more) => async (base, emit) =>
  emit('completion', await client(base).chat.completions.create({ model, messages: user(content), ...more }))

const chatStream = (content, more) => async (base, emit) =>
  each(await client(base).chat.completions.create({ model, messages: user(content), stream: true, ...more }), emit)

const response = (input, more) => async (base, emit) => {
  const answer = await client(base).responses.create({ model, input, ...more })
  emit('response', answer)
  emit('text', answer.output_text)
}

const responseStream = (input, more) => async (base, emit) =>
  each(await client(base).responses.create({ model, input, stream: true, ...more }), emit)

const embed = (input, more) => async (base, emit) => {
  const { usage, ...answer } = await client(base).embeddings.create({ model: 'text-embedding-3-small', input, ...more })
  emit('embeddings', answer)
  emit('usage', usage)
}

const asking = apiKey => async (base, emit) =>
  emit('completion', await client(base, { apiKey }).chat.completions.create({ model, messages: user('something new') }))

export const scenarios = {
  'chat': chat('say hello'),
  'chat-tools': chat('weather', { tools, parallel_tool_calls: true }),
  'chat-text-and-tools': chat('talk and call', { tools }),
  'chat-reasoning': chat('think hard'),
  'chat-length': chat('never end'),
  'chat-stream': chatStream('say hello'),
  'chat-stream-usage': chatStream('say hello', { stream_options: { include_usage: true } }),
  'chat-stream-tools': chatStream('weather', { tools, parallel_tool_calls: true }),
  'chat-stream-text-and-tools': chatStream('talk and call', { tools }),
  'chat-stream-reasoning': chatStream('think hard'),
  'chat-stream-length': chatStream('never end'),

  // The SDK's own reading of a stream, with its events and its final object.
  async 'chat-stream-helper' (base, emit) {
    const stream = client(base).chat.completions.stream({ model, messages: user('weather'), tools })
    stream.on('content', (delta, whole) => emit('content', [delta, whole]))
    stream.on('tool_calls.function.arguments.done', call => emit('arguments', call))
    emit('completion', await stream.finalChatCompletion())
  },

  'responses': response('say hello'),
  'responses-tools': response('weather', { tools: [{ type: 'function', strict: false, ...weather }] }),
  'responses-reasoning': response('think hard', { reasoning: { effort: 'high', summary: 'auto' }, include: ['reasoning.encrypted_content'] }),
  'responses-stream': responseStream('say hello'),
  'responses-stream-tools': responseStream('weather', { tools: [{ type: 'function', strict: false, ...weather }] }),
  'responses-stream-reasoning': responseStream('think hard', { reasoning: { effort: 'high', summary: 'auto' } }),

  'embed': embed('alone'),
  'embed-float': embed('alone', { encoding_format: 'float' }),
  'embed-dimensions': embed('alone', { dimensions: 3 }),
  'embed-tokens': embed([1, 2, 3]),
  'embed-batch': embed(['one', 'two words', 'three']),
  'embed-batch-float': embed(['one', 'two words', 'three'], { encoding_format: 'float' }),
  'embed-batch-float-subset': embed(['three', 'one'], { encoding_format: 'float' }),
  'embed-batch-overlap': embed(['three', 'new', 'one', 'new', 'two words']),
  'embed-batch-tokens': embed([[1], [2, 3]]),
  'embed-batch-tokens-overlap': embed([[4], [2, 3], [1]]),

  async 'moderation' (base, emit) {
    emit('moderation', await client(base).moderations.create({ input: 'something kind' }))
  },

  async 'files' (base, emit) {
    const api = client(base)
    const content = '{"line": 1}\n{"line": "zwei"}\n'
    const { filename, bytes, purpose, id } = await api.files.create({ file: await toFile(Buffer.from(content), 'lines.jsonl'), purpose: 'batch' })
    emit('uploaded', { filename, bytes, purpose })
    emit('content', await (await api.files.content(id)).text())
    emit('deleted', (await api.files.delete(id)).deleted)
    await api.files.content(id)
  },

  // The first try fails.
  'recover': chat('come again'),

  'fail-400': chat('fail with 400'),
  'fail-401': chat('fail with 401'),
  'fail-404': chat('fail with 404'),
  'fail-429': chat('fail with 429'),
  'fail-500': chat('fail with 500'),
  'fail-stream-400': chatStream('fail with 400'),
  'fail-responses-400': response('fail with 400'),

  // The same request as chat-stream, given up after some events.
  async 'abort' (base, emit) {
    const control = new AbortController()
    const stream = await client(base).chat.completions.create({ model, messages: user('say hello'), stream: true }, { signal: control.signal })
    for await (const event of stream) {
      emit('event', event)
      control.abort()
    }
  },

  'alice': asking('key-of-alice'),
  'bob': asking('key-of-bob')
}
