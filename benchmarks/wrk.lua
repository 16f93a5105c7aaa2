-- Sends one kind of request, to notes in turn where the path says ID, and prints what came of it.

local method, path, body, first, notes
local turn = 0

function init(args)
   method, path, body = args[1], args[2], args[3]
   first, notes = tonumber(args[4]), tonumber(args[5])
   if body == "" then body = nil end
end

function request()
   turn = (turn + 1) % notes
   local headers = {["Content-Type"] = body and "application/json"}
   return wrk.format(method, (path:gsub("ID", first + turn)), headers, body)
end

function done(summary, latency, requests)
   local failed = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "seconds": %f, "failed": %d, "lost": %d, "p50": %f, "p99": %f}\n',
      summary.requests, summary.duration / 1e6, failed.status,
      failed.connect + failed.read + failed.write + failed.timeout,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
