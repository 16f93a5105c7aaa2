-- Sends one kind of request, to one note after the other where the path says ID, and prints a report.

local method, path, body, notes
local note = 0

function init(args)
   method, path, body, notes = args[1], args[2], args[3], tonumber(args[4])
   if body == "" then body = nil end
end

function request()
   note = note % notes + 1
   local headers = {["Content-Type"] = body and "application/json"}
   return wrk.format(method, (path:gsub("ID", note)), headers, body)
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "seconds": %f, "failed": %d, "lost": %d, "p50": %f, "p99": %f}\n',
      summary.requests, summary.duration / 1e6, errors.status,
      errors.connect + errors.read + errors.write + errors.timeout,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
