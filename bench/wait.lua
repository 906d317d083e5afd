-- wrk script: submits satchel.noop and waits for its end in the same request, so that one response is one task from
-- submission to finished.   wrk -t1 -c64 -d10s -s bench/wait.lua http://127.0.0.1:8640
wrk.method = "POST"
wrk.path = "/v1/tasks"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Prefer"] = "wait=10"
wrk.headers["X-Tenant-ID"] = "bench"
wrk.headers["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
wrk.body = '{"task":"satchel.noop","args":{"n":1}}'
local bad = 0
function response(status, headers, body)
  if status ~= 200 then
    bad = bad + 1
    if bad <= 3 then
      io.stderr:write("status " .. status .. ": " .. body .. "\n")
    end
  end
end
