// jsreport on a free loopback port, which it prints. It ends when its standard
// input does. Templates are in memory; recipes are html and docx.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import jsreport from '@jsreport/jsreport-core'
import docx from '@jsreport/jsreport-docx'
import express from '@jsreport/jsreport-express'
import handlebars from '@jsreport/jsreport-handlebars'

const tempDirectory = mkdtempSync(join(tmpdir(), 'jsreport-'))
const server = jsreport({
  loadConfig: false,
  discover: false,
  useExtensionsLocationCache: false,
  hostname: '127.0.0.1',
  httpPort: 0,
  tempDirectory,
  store: { provider: 'memory' },
  blobStorage: { provider: 'memory' },
  logger: { silent: true }
})
server.use(express()).use(handlebars()).use(docx())
await server.init()
console.log(server.express.server.address().port)
process.stdin.resume().on('end', () => {
  rmSync(tempDirectory, { recursive: true, force: true })
  process.exit()
})
