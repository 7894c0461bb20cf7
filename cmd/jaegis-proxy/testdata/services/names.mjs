// A service that answers with what multer reads of a form, as multer is by
// default: a plain filename is Latin-1. On a free loopback port, which it
// prints; it ends when its standard input does.
import express from 'express'
import multer from 'multer'

const app = express()
app.post('*', multer().any(), ({ files, body }, response) => response.json({ files: files.map(file => file.originalname), body }))
const server = app.listen(0, '127.0.0.1', () => console.log(server.address().port))
process.stdin.resume().on('end', () => process.exit())
