-- POSTs one body over and over, as one caller, and ends with a line that
-- run.sh reads: requests, seconds, p50 and p99 in microseconds, failures.
local file = assert(io.open(os.getenv("BENCH_BODY"), "rb"))
wrk.method = "POST"
wrk.path = "/convert/bench"
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer benchmark"

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT\t%d\t%.6f\t%d\t%d\t%d\n",
    summary.requests, summary.duration / 1e6,
    latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
