-- wrk -s post.lua URL -- BODY_FILE KEY: one fixed POST, and the result as one line of JSON
function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.body = file:read("*a")
  file:close()
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Accept"] = "application/json"
  wrk.headers["User-Agent"] = "OpenAI/Python 3.0.0"
  wrk.headers["X-Stainless-Lang"] = "python"
  wrk.headers["X-Stainless-Retry-Count"] = "0"
  wrk.headers["Authorization"] = "Bearer " .. args[2]
end

function done(summary, latency)
  local e = summary.errors
  print(string.format('{"requests": %d, "seconds": %.6f, "failed": %d, "p50_ms": %.3f, "p99_ms": %.3f}',
    summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
