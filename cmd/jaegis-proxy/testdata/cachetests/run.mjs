// Runs the public cache tests through the cache at the URL given, or the one
// test whose id comes after it, with its messages. Prints a JSON array of what
// became of each test.
import fetch from 'node-fetch'
import { getResults, runTests } from 'http-cache-tests/client/runner.mjs'
import standard from 'http-cache-tests/tests/index.mjs'
import surrogate from 'http-cache-tests/tests/surrogate-control.mjs'

const [base, only] = process.argv.slice(2)

// The present edition of the suite tests CDN-Cache-Control (RFC 9213) by the
// tests of Surrogate-Control, in which this edition has them: with the field
// renamed, and without the targeting of devices that RFC 9213 does not have.
const cdn = JSON.parse(JSON.stringify(surrogate)
  .replaceAll('Surrogate-Control', 'CDN-Cache-Control')
  .replaceAll(';CAPABILITY_TARGET', '')
  .replaceAll('"surrogate-', '"cdn-'))

const suites = [...standard, surrogate, cdn].map(suite => ({
  ...suite,
  // Some tests are for browsers alone.
  tests: suite.tests.filter(test => !test.browser_only && (!only || test.id === only))
}))
if (only) suites.forEach(suite => suite.tests.forEach(test => { test.dump = true }))

// An answer that does not come fails its own test, and not the whole run.
const patient = (url, init) => fetch(url, { ...init, timeout: 20_000 })

// Many at a time, since most of a test is pauses; not all, since freshness in
// these tests is a matter of two seconds, and a busy machine would let it pass.
await runTests(suites, patient, false, base, 75)

const results = getResults()
console.log(JSON.stringify(suites.flatMap(suite => suite.tests.map(test => ({
  id: test.id,
  name: test.name,
  // Surrogate-Control is no standard of the IETF: no test of it is required.
  kind: suite.id === surrogate.id ? 'surrogate' : suite.id === cdn.id ? 'cdn' : test.kind ?? 'required',
  needs: test.depends_on ?? [],
  passed: results[test.id] === true,
  message: results[test.id] === true ? '' : String(results[test.id])
})))))
