// LibreOffice behind HTTP, on a free loopback port, which is printed. It ends
// when its standard input does. POST a form to any path: the file, and in "to"
// the type to make of it (pdf, docx, txt). LibreOffice goes by the extension of
// the file's name, and the result is named after it.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { readFile, rename } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, extname, join } from 'node:path'
import { promisify } from 'node:util'
import express from 'express'
import multer from 'multer'

const home = mkdtempSync(join(tmpdir(), 'libreoffice-'))
const types = {
  docx: ['docx:MS Word 2007 XML', 'application/vnd.openxmlformats-officedocument.wordprocessingml.document'],
  pdf: ['pdf', 'application/pdf'],
  txt: ['txt:Text (encoded):UTF8', 'text/plain; charset=utf-8']
}

// LibreOffice does one thing at a time for each profile.
let last = Promise.resolve()
const inTurn = work => (last = last.then(work, work))

async function convert (path, to) {
  const [filter] = types[to]
  await promisify(execFile)('soffice', [
    `-env:UserInstallation=file://${join(home, 'profile')}`, '--headless', '--convert-to', filter, '--outdir', join(home, 'out'), path
  ], { timeout: 60_000, killSignal: 'SIGKILL' })
  return readFile(join(home, 'out', `${basename(path, extname(path))}.${to}`))
}

const app = express()
app.post('*', multer({ dest: join(home, 'in'), defParamCharset: 'utf8' }).single('file'), async (request, response) => {
  const { file, body: { to } } = request
  if (!file || !types[to]) return response.status(400).json({ error: 'a file, and in "to" one of ' + Object.keys(types) })
  try {
    const path = file.path + extname(file.originalname)
    await rename(file.path, path)
    const result = await inTurn(() => convert(path, to))
    response.attachment(`${basename(file.originalname, extname(file.originalname))}.${to}`).type(types[to][1]).send(result)
  } catch (error) {
    response.status(422).json({ error: String(error) })
  }
})
const server = app.listen(0, '127.0.0.1', () => console.log(server.address().port))
process.stdin.resume().on('end', () => inTurn(() => {
  rmSync(home, { recursive: true, force: true })
  process.exit()
}))
