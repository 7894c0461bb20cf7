// Uploads a form as a browser or Node.js would, and prints what came back.
// Arguments: URL, the field "to", file, its name, its type.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'

const [url, to, path, name, type] = process.argv.slice(2)
const form = new FormData()
form.set('to', to)
form.set('file', new File([readFileSync(path)], name, { type }))
const response = await fetch(url, { method: 'POST', body: form })
const body = Buffer.from(await response.arrayBuffer())
console.log(response.status, response.headers.get('x-cache'), createHash('sha256').update(body).digest('hex'))
