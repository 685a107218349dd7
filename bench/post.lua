-- wrk -s post.lua URL -- FILE: send the HTTP request that stands in FILE again and again; print one line of JSON.
function init(args)
  local file = assert(io.open(args[1], "rb"))
  whole = file:read("*a")
  file:close()
end

function request()
  return whole
end

function done(summary, latency)
  local e = summary.errors
  print(string.format('{"requests": %d, "seconds": %.6f, "failed": %d, "p50_ms": %.3f, "p99_ms": %.3f}',
    summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
