// Runs scenarios of one SDK: `node run.mjs openai`. Each line of standard input
// is a JSON object {scenario, base}; the scenario is run against the API at that
// base URL, and what the SDK gave is printed as it comes, one JSON array
// [what, value] a line, with ["end"] last. An error that the SDK threw is what
// it gave, too.
import readline from 'node:readline'

const { scenarios } = await import(`./${process.argv[2]}.mjs`)

const emit = (...line) => console.log(JSON.stringify(line))

// failure is an error as a program sees it: its class and what it tells.
function failure (error) {
  const { status, statusCode, type, code, message, responseBody } = error
  const retryAfter = error.headers?.get?.('retry-after') ?? undefined
  return { class: error.constructor.name, status: status ?? statusCode, type, code, message, responseBody, retryAfter }
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { scenario, base } = JSON.parse(line)
  try {
    await scenarios[scenario](base, emit)
  } catch (error) {
    emit('error', failure(error))
  }
  emit('end')
}
