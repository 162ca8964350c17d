-- The world that scripts see: a fixed set of globals behind read-only views, and the redis library over the host's
-- functions. Runs once per interpreter; returns what the host needs to run scripts.
local host = ...

local debug_info, error, getmetatable, next, pcall, rawget, rawset, select, setfenv, setmetatable, tostring, type, xpcall =
    debug.getinfo, error, getmetatable, next, pcall, rawget, rawset, select, setfenv, setmetatable, tostring, type, xpcall
local loadstring, load = loadstring, load

-- Views: empty tables whose reads go to the table behind them and whose writes fail.
local behind = setmetatable({}, { __mode = "k" })

local function read_only()
    error("Attempt to modify a readonly table", 2)
end

local function view(content)
    local proxy = setmetatable({}, { __index = content, __newindex = read_only, __metatable = false })
    behind[proxy] = content
    return proxy
end

local globals = {}
setmetatable(globals, {
    __index = function(_, name)
        error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
    end,
})
local environment = view(globals)

local function pick(from, names)
    local picked = {}
    for _, name in ipairs(names) do
        picked[name] = from[name]
    end
    return picked
end

for _, name in ipairs({
    "assert", "collectgarbage", "coroutine", "error", "gcinfo", "ipairs", "rawequal", "select", "tonumber", "tostring", "type", "unpack", "_VERSION",
}) do
    globals[name] = _G[name]
end

globals.next = function(t, key)
    return next(behind[t] or t, key)
end
globals.pairs = function(t)
    if type(t) ~= "table" then
        error("bad argument #1 to 'pairs' (table expected, got " .. (t == nil and "no value" or type(t)) .. ")", 2)
    end
    return next, behind[t] or t, nil
end
globals.rawget = function(t, key)
    return rawget(behind[t] or t, key)
end
globals.rawset = function(t, key, value)
    if behind[t] then
        error("Attempt to modify a readonly table", 0)
    end
    return rawset(t, key, value)
end
globals.setmetatable = function(t, metatable)
    if behind[t] then
        error("Attempt to modify a readonly table", 0)
    end
    return setmetatable(t, metatable)
end

-- Compiled chunks are refused: the interpreter does not verify bytecode.
local function text_only(chunk)
    if type(chunk) == "string" and chunk:byte(1) == 27 then
        return nil, "attempt to load a precompiled chunk"
    end
    return chunk
end
globals.loadstring = function(text, name)
    local chunk, refused = text_only(text)
    if not chunk then
        return nil, refused
    end
    local compiled, failure = loadstring(chunk, name)
    if compiled then
        setfenv(compiled, environment)
    end
    return compiled, failure
end
globals.load = function(reader, name)
    local pieces = {}
    while true do
        local piece = reader()
        if piece == nil or piece == "" then
            break
        end
        pieces[#pieces + 1] = piece
    end
    return globals.loadstring(table.concat(pieces), name)
end

local coroutines = pick(coroutine, { "create", "running", "status", "wrap", "yield" })
local resume = coroutine.resume
globals.table = view(pick(table, { "concat", "foreach", "foreachi", "getn", "insert", "maxn", "remove", "setn", "sort" }))
globals.string = view(pick(string, {
    "byte", "char", "find", "format", "gfind", "gmatch", "gsub", "len", "lower", "match", "rep", "reverse", "sub", "upper",
}))
local mathematics = pick(math, {
    "abs", "acos", "asin", "atan", "atan2", "ceil", "cos", "cosh", "deg", "exp", "floor", "fmod", "frexp", "huge", "ldexp",
    "log", "log10", "max", "min", "mod", "modf", "pi", "pow", "rad", "sin", "sinh", "sqrt", "tan", "tanh",
})
mathematics.random = function(low, high)
    local drawn = host.draw()
    if low == nil then
        return drawn
    end
    if high == nil then
        low, high = 1, low
    end
    if low > high then
        error("bad argument #" .. (low == 1 and 1 or 2) .. " to 'random' (interval is empty)", 2)
    end
    return mathematics.floor(drawn * (high - low + 1)) + low
end
mathematics.randomseed = host.randomseed
globals.math = view(mathematics)
globals.os = view({ clock = host.clock })
globals.cjson = view(host.cjson)
getmetatable("").__index = behind[globals.string]
local of_strings = view({ __index = globals.string })
globals.getmetatable = function(value)
    if type(value) == "string" then
        return of_strings
    end
    return getmetatable(value)
end
globals._G = environment

-- An error of redis.call travels as a token of the host's, since host functions cannot throw tables; whoever catches it
-- gets the table.
local function untoken(err)
    if type(err) == "userdata" then
        return host.take_raised() or tostring(err)
    end
    return err
end

local function caught(fine, ...)
    if fine then
        return fine, ...
    end
    return fine, untoken((...))
end

-- pcall alone gives the text of an error that carries one, as it did before errors were tables.
local function caught_text(fine, ...)
    if fine then
        return fine, ...
    end
    local err = untoken((...))
    if type(err) == "table" and type(err.err) == "string" then
        err = err.err
    end
    return fine, err
end

globals.pcall = function(f, ...)
    return caught_text(pcall(f, ...))
end
globals.xpcall = function(f, handler)
    return xpcall(f, function(err)
        return handler(untoken(err))
    end)
end

coroutines.resume = function(...)
    return caught(resume(...))
end
globals.coroutine = view(coroutines)

-- Where in the script an error happened: the innermost frame that belongs to it.
local function locate(err)
    err = untoken(err)
    if type(err) ~= "table" then
        err = { err = "ERR " .. tostring(err) }
    elseif err.err == nil then
        err = { err = "ERR unknown error" }
    end
    if err.line == nil then
        local level = 2
        while true do
            local frame = debug_info(level, "Sl")
            if not frame then
                break
            end
            if frame.source == "@user_script" then
                err.source, err.line = frame.source, frame.currentline
                break
            end
            level = level + 1
        end
    end
    return err
end

local function single(field)
    return function(...)
        local text = ...
        if select("#", ...) ~= 1 or type(text) ~= "string" then
            return { err = "ERR wrong number or type of arguments" }
        end
        if field == "err" then
            return { err = host.error_text(text) }
        end
        return { [field] = text }
    end
end

local redis = {
    call = host.call,
    pcall = host.pcall,
    error_reply = single("err"),
    status_reply = single("ok"),
    sha1hex = function(...)
        if select("#", ...) ~= 1 then
            error("wrong number of arguments", 0)
        end
        return host.sha1hex(tostring((...)))
    end,
    log = function(...)
        if select("#", ...) < 2 then
            error("redis.log() requires two arguments or more.", 0)
        end
        local level = ...
        if type(level) ~= "number" then
            error("First argument must be a number (log level).", 0)
        end
        if level < 0 or level > 3 then
            error("Invalid debug level.", 0)
        end
        local words = {}
        for at = 2, select("#", ...) do
            words[#words + 1] = tostring((select(at, ...)))
        end
        host.log(level, table.concat(words, " "))
    end,
    setresp = function(...)
        local version = ...
        if select("#", ...) ~= 1 then
            error("redis.setresp() requires one argument.", 0)
        end
        if version ~= 2 and version ~= 3 then
            error("RESP version must be 2 or 3.", 0)
        end
        host.setresp(version)
    end,
    replicate_commands = function()
        return true
    end,
    set_repl = function(...)
        local flags = ...
        if select("#", ...) ~= 1 then
            error("redis.set_repl() requires one argument.", 0)
        end
        if type(flags) ~= "number" or flags < 0 or flags > 3 then
            error("Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.", 0)
        end
        if flags ~= 3 then
            error("redis.set_repl() cannot keep effects out of the log", 0)
        end
    end,
    breakpoint = function()
        return false
    end,
    acl_check_cmd = function(...)
        if select("#", ...) == 0 then
            error("Please specify at least one argument for this redis.acl_check_cmd() call", 0)
        end
        local known = host.pcall("COMMAND", "INFO", (...))
        if type(known) ~= "table" or type(known[1]) ~= "table" then
            error("Invalid command passed to redis.acl_check_cmd()", 0)
        end
        return true
    end,
    debug = function() end,
    LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
    REPL_NONE = 0, REPL_AOF = 1, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_ALL = 3,
    REDIS_VERSION = host.version, REDIS_VERSION_NUM = host.version_number,
}
globals.redis = view(redis)
globals.server = globals.redis

return {
    compile = function(text)
        local chunk, failure = loadstring(text, "@user_script")
        if not chunk then
            return nil, failure
        end
        return setfenv(chunk, environment)
    end,
    run = function(script, keys, args)
        rawset(globals, "KEYS", keys)
        rawset(globals, "ARGV", args)
        return xpcall(script, locate)
    end,
}
