-- The documented worker POST for wrk: a new APP_SID for every request, member_ids in turn.
-- Arguments behind "--": keep | close, number of member_ids, number of the first one.

local BODY = "AUTH_ID=4172bb660070f28d001e30ba00000001f0f107c42ca5bd5f61030c5d9c3e4d60" ..
    "&AUTH_EXPIRES=3600" ..
    "&REFRESH_ID=31f1e2660070f28d001e30ba00000001f0f107b1918506d8a2ed9ecf76e8fdac" ..
    "&SERVER_ENDPOINT=https%3A%2F%2Foauth.bitrix.info%2Frest%2F" ..
    "&APPLICATION_TOKEN=ec1b2074a9d3f5c81b6e40d27a95cf38&APPLICATION_SCOPE=placement" ..
    "&member_id=da45a03b265edd8787f8a258d793cc5d&status=L&PLACEMENT=PAGE_BACKGROUND_WORKER" ..
    "&PLACEMENT_OPTIONS=%7B%22ID%22%3A%22PAGE_BACKGROUND_WORKER%22%2C%22URI%22%3A%22" ..
    "%5C%2Fcompany%5C%2Fpersonal%5C%2Fuser%5C%2F1%5C%2Fblog%5C%2F%22%7D"
assert(#BODY == 533)

local HEADERS = " HTTP/1.1\r\nHost: app.example.com\r\n" ..
    "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 533\r\n" ..
    "Origin: https://xxx.bitrix24.com\r\nReferer: https://xxx.bitrix24.com/\r\n" ..
    "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n" ..
    "Upgrade-Insecure-Requests: 1\r\n" ..
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" ..
    "Accept-Language: en-US,en;q=0.9\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"

local before, between, after
local members = {}
local sent, first, sid_start

local function hex8()
    return string.format("%08x", math.random(0, 2 ^ 32 - 1))
end

function init(args)
    math.randomseed(24) -- the same member_ids in every run
    for i = 1, tonumber(args[2]) do
        members[i] = hex8() .. hex8() .. hex8() .. hex8()
    end
    first, sent = tonumber(args[3]), 0
    math.randomseed(os.time()) -- never the same APP_SID in two runs
    sid_start = hex8() .. hex8() .. hex8()
    local head, tail = BODY:match("^(.*&member_id=)%x+(.*)$")
    local close = args[1] == "close" and "Connection: close\r\n" or ""
    before = "POST " .. wrk.path .. "?type=1&DOMAIN=xxx.bitrix24.com&PROTOCOL=1&LANG=en&APP_SID="
    between = HEADERS .. close .. "\r\n" .. head
    after = tail
end

function request()
    local member = members[(first + sent) % #members + 1]
    local sid = sid_start .. string.format("%08x", sent)
    sent = sent + 1
    return before .. sid .. between .. member .. after
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format(
        '\n{"requests":%d,"bytes":%d,"us":%d,"p50_us":%d,"p99_us":%d,' ..
        '"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
        summary.requests, summary.bytes, summary.duration, latency:percentile(50),
        latency:percentile(99), e.connect, e.read, e.write, e.status, e.timeout))
end
