// Reads pairs of multipart bodies by the parser of Node.js' fetch, and fails
// where it reads both bodies of a pair and finds different things.
import { readFileSync } from 'node:fs'

async function read(body, type) {
  try {
    const form = await new Response(body, { headers: { 'content-type': type } }).formData()
    const out = []
    for (const [name, value] of form) {
      out.push(typeof value === 'string' ? [name, value] : [name, value.name, value.type, await value.text()])
    }
    return JSON.stringify(out)
  } catch {
    return null
  }
}

const pairs = JSON.parse(readFileSync(0, 'utf8'))
let both = 0
for (const { A, B, TypeA, TypeB } of pairs) {
  const [a, b] = [await read(A, TypeA), await read(B, TypeB)]
  if (a === null || b === null) continue
  both++
  if (a !== b) {
    console.log('read differently:', JSON.stringify(A), a, JSON.stringify(B), b)
    process.exitCode = 1
  }
}
console.log(`${pairs.length} pairs, both read of ${both}`)
if (both < pairs.length / 10) process.exitCode = 1
