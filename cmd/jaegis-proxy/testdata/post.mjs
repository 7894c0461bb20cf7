// Sends JSON as Node.js would, its members in another order than those of the
// file, and prints what came back. Arguments: URL, file.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'

const [url, path] = process.argv.slice(2)
const members = Object.entries(JSON.parse(readFileSync(path))).reverse()
const headers = { 'Content-Type': 'application/json' }
const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(Object.fromEntries(members)) })
const body = Buffer.from(await response.arrayBuffer())
console.log(response.status, response.headers.get('x-cache'), createHash('sha256').update(body).digest('hex'))
