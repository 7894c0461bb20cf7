// Scenarios of the `ai` SDK with its providers for three APIs. What it makes up
// itself (times, ids) is left out.
import { createAnthropic } from '@ai-sdk/anthropic'
import { createGoogle } from '@ai-sdk/google'
import { createOpenAI } from '@ai-sdk/openai'
import { embed, embedMany, generateObject, generateText, jsonSchema, streamObject, streamText, tool } from 'ai'

const apiKey = 'key-of-alice'
const openai = base => createOpenAI({ baseURL: `${base}/v1`, apiKey })
const anthropic = base => createAnthropic({ baseURL: `${base}/v1`, apiKey })
const google = base => createGoogle({ baseURL: `${base}/v1beta`, apiKey })

const models = {
  'openai-chat': base => openai(base).chat('gpt-5.2'),
  'openai-responses': base => openai(base).responses('gpt-5.2'),
  'anthropic': base => anthropic(base)('claude-sonnet-4-6'),
  'google': base => google(base)('gemini-2.5-flash')
}
const embedders = {
  'openai-embed': base => openai(base).embedding('text-embedding-3-small'),
  'google-embed': base => google(base).embedding('gemini-embedding-001')
}

const schema = jsonSchema({
  type: 'object',
  properties: { name: { type: 'string' }, born: { type: 'integer' }, fields: { type: 'array', items: { type: 'string' } } },
  required: ['name', 'born', 'fields'],
  additionalProperties: false
})
const tools = { weather: tool({ inputSchema: jsonSchema({ type: 'object', properties: { city: { type: 'string' }, days: { type: 'array' } } }) }) }

// The id of an answer that has none of its own is made up as well.
const own = new Set(['timestamp', 'headers', 'request', 'performance', 'requestId'])
const madeUp = (key, value) => own.has(key) || (key === 'id' && /^ai(txt|obj)-/.test(value))
const plain = value => JSON.parse(JSON.stringify(value, (key, v) => madeUp(key, v) ? undefined : v))

function outcome ({ text, reasoningText, toolCalls, finishReason, usage, response }) {
  return plain({ text, reasoningText, toolCalls, finishReason, usage, id: response.id, model: response.modelId })
}

const ofModel = {
  async 'text' (model, emit) {
    emit('result', outcome(await generateText({ model, prompt: 'say hello', maxRetries: 1 })))
  },
  async 'reasoning' (model, emit) {
    emit('result', outcome(await generateText({ model, prompt: 'think hard', maxRetries: 1 })))
  },
  async 'tools' (model, emit) {
    emit('result', outcome(await generateText({ model, prompt: 'weather', tools, maxRetries: 1 })))
  },
  async 'stream' (model, emit) {
    const result = streamText({ model, prompt: 'say hello', maxRetries: 1 })
    for await (const part of result.fullStream) emit('part', plain(part))
    emit('usage', plain(await result.usage))
  },
  async 'stream-tools' (model, emit) {
    for await (const part of streamText({ model, prompt: 'weather', tools, maxRetries: 1 }).fullStream) emit('part', plain(part))
  },
  async 'stream-reasoning' (model, emit) {
    for await (const part of streamText({ model, prompt: 'think hard', maxRetries: 1 }).fullStream) emit('part', plain(part))
  },
  async 'object' (model, emit) {
    const { object, usage } = await generateObject({ model, schema, prompt: 'Ada as an object', maxRetries: 1 })
    emit('object', plain({ object, usage }))
  },
  async 'stream-object' (model, emit) {
    const result = streamObject({ model, schema, prompt: 'Ada as an object', maxRetries: 1 })
    for await (const part of result.fullStream) emit('part', plain(part))
    emit('object', await result.object)
  },
  async 'length' (model, emit) {
    emit('result', outcome(await generateText({ model, prompt: 'never end', maxRetries: 1 })))
  },
  async 'stream-length' (model, emit) {
    for await (const part of streamText({ model, prompt: 'never end', maxRetries: 1 }).fullStream) emit('part', plain(part))
  },
  async 'fail' (model, emit) {
    await generateText({ model, prompt: 'fail with 400', maxRetries: 1 })
  }
}

const ofEmbedder = {
  async 'one' (model, emit) {
    const { embedding, usage } = await embed({ model, value: 'alone', maxRetries: 1 })
    emit('embedding', embedding)
    emit('usage', usage)
  },
  async 'many' (model, emit) {
    const { embeddings, usage } = await embedMany({ model, values: ['one', 'two words', 'three'], maxRetries: 1 })
    emit('embeddings', embeddings)
    emit('usage', usage)
  },
  async 'overlap' (model, emit) {
    const { embeddings, usage } = await embedMany({ model, values: ['three', 'new', 'one'], maxRetries: 1 })
    emit('embeddings', embeddings)
    emit('usage', usage)
  }
}

// Every scenario of every model, as "model/scenario".
const cross = (models, scenarios) => Object.entries(models).flatMap(([name, model]) =>
  Object.entries(scenarios).map(([scenario, run]) => [`${name}/${scenario}`, (base, emit) => run(model(base), emit)]))

export const scenarios = Object.fromEntries([...cross(models, ofModel), ...cross(embedders, ofEmbedder)])
