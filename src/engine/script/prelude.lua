-- The world that scripts see: a fixed set of globals behind read-only views, and the redis library over the host's
-- functions. Runs once per interpreter; returns what the host needs to run scripts, or functions of libraries.
local host, chunk_name = ...
local for_functions = chunk_name == "@user_function"

local debug_info, error, find, getmetatable, gsub, match, next, pcall, rawget, rawset, select, setfenv, setmetatable, tostring, type, xpcall =
    debug.getinfo, error, string.find, getmetatable, string.gsub, string.match, next, pcall, rawget, rawset, select, setfenv, setmetatable, tostring, type, xpcall
local gmatch, loadstring, sub, unpack = string.gmatch, loadstring, string.sub, unpack

-- Views: empty tables whose reads go to the table behind them and whose writes fail.
local behind = setmetatable({}, { __mode = "k" })

local function read_only()
    error("Attempt to modify a readonly table", 2)
end

local function view(content)
    local metatable = { __index = content, __newindex = read_only, __metatable = false }
    local proxy = setmetatable({}, metatable)
    behind[proxy] = content
    return proxy, metatable
end

local function nonexistent(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end

local globals = setmetatable({}, { __index = nonexistent })
local environment, environment_metatable = view(globals)

local function pick(from, names)
    local picked = {}
    for _, name in ipairs(names) do
        picked[name] = from[name]
    end
    return picked
end

for _, name in ipairs({
    "assert", "error", "gcinfo", "ipairs", "rawequal", "select", "tonumber", "tostring", "type", "unpack", "_VERSION",
}) do
    globals[name] = _G[name]
end

-- What a script tells the collector ends with it.
local collect, collector_is_changed = collectgarbage, false
globals.collectgarbage = function(...)
    collector_is_changed = true
    return collect(...)
end
local function restore_collector()
    if collector_is_changed then
        collector_is_changed = false
        collect("setpause", 200)
        collect("setstepmul", 200)
        collect("restart")
    end
end

globals.next = function(...)
    local content = behind[(...)]
    if content then
        return next(content, (select(2, ...)))
    end
    return next(...)
end
globals.pairs = function(...)
    local t = ...
    if type(t) ~= "table" then
        error("bad argument #1 to 'pairs' (table expected, got " .. (select("#", ...) == 0 and "no value" or type(t)) .. ")")
    end
    return next, behind[t] or t, nil
end
globals.rawget = function(...)
    local content = behind[(...)]
    if content then
        return rawget(content, (select(2, ...)))
    end
    return rawget(...)
end
globals.rawset = function(...)
    if behind[(...)] then
        error("Attempt to modify a readonly table", 0)
    end
    return rawset(...)
end
globals.setmetatable = function(...)
    if behind[(...)] then
        error("Attempt to modify a readonly table", 0)
    end
    return setmetatable(...)
end

-- Compiled chunks are refused: the interpreter does not verify bytecode.
local function compile(text, name)
    if sub(text, 1, 1) == "\27" then
        -- What stock says of a chunk whose first byte is no beginning of Lua text.
        text = "\1" .. sub(text, 2)
        local _, failure = loadstring(text, name)
        return nil, (gsub(failure, "'char%(1%)'", "'char(27)'"))
    end
    local compiled, failure = loadstring(text, name)
    if compiled then
        setfenv(compiled, environment)
    end
    return compiled, failure
end
globals.loadstring = function(...)
    local text, name = ...
    if type(text) ~= "string" then
        return loadstring(...)
    end
    return compile(text, name or text)
end
globals.load = function(...)
    local reader, name = ...
    if type(reader) ~= "function" then
        return load(...)
    end
    local pieces = {}
    while true do
        local piece = reader()
        if piece == nil or piece == "" then
            break
        end
        if type(piece) ~= "string" and type(piece) ~= "number" then
            return nil, "reader function must return a string"
        end
        pieces[#pieces + 1] = piece
    end
    return compile(table.concat(pieces), name or "=(load)")
end

local tables = pick(table, { "concat", "foreach", "foreachi", "getn", "maxn", "remove", "setn", "sort" })
local insert = table.insert
tables.insert = function(...)
    if behind[(...)] then
        error("Attempt to modify a readonly table", 0)
    end
    return insert(...)
end
globals.table = view(tables)

local strings = pick(string, { "byte", "char", "dump", "format", "len", "lower", "rep", "reverse", "sub", "upper" })
-- The matcher of this interpreter recurses in C for every item of a pattern, without a bound of its own.
local ITEMS_MAX, PLAIN_LENGTH = 2000, 200
local function guard(original)
    return function(...)
        local _, pattern = ...
        if type(pattern) == "string" and #pattern > PLAIN_LENGTH then
            local _, items = gsub(pattern, "[%*%+%-%?%(%)]", "")
            if items > ITEMS_MAX then
                error("pattern too complex")
            end
        end
        return original(...)
    end
end
for _, name in ipairs({ "find", "gfind", "gmatch", "gsub", "match" }) do
    strings[name] = guard(string[name])
end
globals.string = view(strings)

local mathematics = pick(math, {
    "abs", "acos", "asin", "atan", "atan2", "ceil", "cos", "cosh", "deg", "exp", "floor", "fmod", "frexp", "huge", "ldexp",
    "log", "log10", "max", "min", "mod", "modf", "pi", "pow", "rad", "sin", "sinh", "sqrt", "tan", "tanh",
})
mathematics.random, mathematics.randomseed = host.random, host.randomseed
globals.math = view(mathematics)
globals.os = view({ clock = host.clock })
for name, library in next, host.libraries do
    globals[name] = view(library)
end

getmetatable("").__index = strings
local of_strings = view({ __index = globals.string })
local of_globals = view({})
globals.getmetatable = function(...)
    local value = ...
    if type(value) == "string" then
        return of_strings
    elseif value == environment then
        return of_globals
    elseif behind[value] then
        return nil
    end
    return getmetatable(...)
end
globals._G = environment

-- Errors of host functions travel as userdata, since host functions cannot throw Lua values; whoever catches one gets
-- what it stands for. Those of library functions that are wrapped here begin with a place in this file and name what
-- they are called here: both are replaced by what the script knows.
local HERE, BAD_ARGUMENT = "^prelude:%d+: ", "^bad argument #(%d+) to '[^']*' (.*)$"
-- Whether the script is a single line: its place is known then, even where a tail call has left no trace of it.
local single_line = false
-- Of scripts of several lines: where functions of this file are tail-called, by their names; negative where one is called as a
-- method, false for one that is in several places. And those of the script that runs.
local tails, tail_lines = setmetatable({}, { __mode = "k" }), nil
-- Seen from a handler of xpcall: itself, the host's function that calls it, the function that threw.
local RAISER = 3

-- What functions of this file are called by scripts; the interpreter does not know where one was tail-called.
local names = setmetatable({}, { __mode = "k" })
local function remember_names(library)
    for name, value in next, library do
        if type(value) == "function" then
            names[value] = name
        end
    end
end

-- The innermost frame from a level on that is not of this file; the level is the caller's. A function of this file that
-- was tail-called has taken the place of the script's frame; `func`: such a one that is known.
local function frame_from(level, func)
    local frame
    local line = tail_lines and tail_lines[names[func]]
    repeat
        level = level + 1
        frame = debug_info(level, "Slf")
        if frame and frame.source == "=prelude" and tail_lines then
            line = tail_lines[names[frame.func]]
        end
    until not frame or frame.source ~= "=prelude"
    if frame and frame.what ~= "tail" then
        return frame
    end
    line = single_line and 1 or line and (line < 0 and -line or line)
    return line and { source = chunk_name, short_src = sub(chunk_name, 2), currentline = line } or nil
end

local function renamed(err, name, is_method)
    local number, problem = match(err, BAD_ARGUMENT)
    if not number then
        return err
    end
    number = number - (is_method and 1 or 0)
    if number == 0 then
        return "calling '" .. name .. "' on bad self " .. problem
    end
    return "bad argument #" .. number .. " to '" .. name .. "' " .. problem
end

-- A text with the script's place instead of one in this file; `level`: of the function that threw, as the caller has it.
local function placed(err, level)
    if not find(err, HERE) then
        return err
    end
    level = level + 1
    local here
    repeat
        here = debug_info(level, "Snf")
        level = level + 1
    until not here or here.source == "=prelude"
    local frame = frame_from(level, here and here.func)
    local place = frame and frame.currentline > 0 and frame.short_src .. ":" .. frame.currentline .. ": " or ""
    err = gsub(err, HERE, "", 1)
    local name = here and (names[here.func] or here.name) or "?"
    local is_method = here and (here.namewhat == "method" or not here.name and tail_lines and (tail_lines[name] or 0) < 0)
    return place .. renamed(err, name, is_method)
end

local function untoken(err)
    if type(err) == "userdata" then
        return host.thrown(err)
    end
    return err
end

-- What an error stands for when its stack is gone.
local function meaning(err)
    err = untoken(err)
    if type(err) == "string" and find(err, HERE) then
        err = gsub(err, HERE, single_line and sub(chunk_name, 2) .. ":1: " or "", 1)
    end
    return err
end

-- What it stands for where it is thrown, `level` levels up as the caller has it.
local function meaning_from(err, level)
    err = untoken(err)
    if type(err) == "string" then
        err = placed(err, level + 1)
    end
    return err
end

local function meaning_here(err)
    err = meaning_from(err, RAISER)
    return err
end

-- The C functions behind xpcall put one value in front of the results without asking for room, which only a few of them
-- leave: more are handed past it in a table.
local RESULTS_MAX = 12
local many = nil
local function few(...)
    local count = select("#", ...)
    if count <= RESULTS_MAX then
        return ...
    end
    many = { count = count, ... }
    return many
end

local function invoke(f, ...)
    return few(f(...))
end

local function settled(fine, ...)
    local results = many
    if fine and results and (...) == results then
        many = nil
        return fine, unpack(results, 1, results.count)
    end
    return fine, ...
end

-- xpcall with arguments for the function, which the host's takes behind the handler.
local function protected(handler, f, ...)
    if type(f) == "function" then
        return settled(xpcall(invoke, handler, f, ...))
    end
    return xpcall(f, handler, ...)
end

-- Of an error whose stack is gone, and which may carry a text: pcall alone gives that, as it did before errors were tables.
local function caught_text(fine, ...)
    if fine then
        return fine, ...
    end
    local err = meaning((...))
    if type(err) == "table" and (type(err.err) == "string" or type(err.err) == "number") then
        err = err.err
    end
    return fine, err
end

globals.pcall = function(...)
    if select("#", ...) == 0 then
        return false
    end
    return caught_text(protected(meaning_here, ...))
end
globals.xpcall = function(...)
    local f, handler = ...
    if select("#", ...) < 2 then
        error("bad argument #2 to 'xpcall' (value expected)")
    end
    return protected(function(err)
        err = meaning_from(err, RAISER)
        return handler(err)
    end, f)
end

local coroutines = pick(coroutine, { "create", "running", "status", "yield" })
local create, resume = coroutine.create, coroutine.resume
local function caught(fine, ...)
    if fine then
        return fine, ...
    end
    return fine, meaning((...))
end
coroutines.resume = function(...)
    return caught(resume(...))
end
local function passed(fine, ...)
    if fine then
        return ...
    end
    local err = meaning((...))
    error(err, type(err) == "string" and 1 or 0)
end
coroutines.wrap = function(...)
    local thread = create(...)
    return function(...)
        return passed(resume(thread, ...))
    end
end
globals.coroutine = view(coroutines)
for _, library in ipairs({ globals, tables, strings, coroutines }) do
    remember_names(library)
end

-- What `tails` holds for a script.
local wrapped = {}
for func, name in next, names do
    wrapped[name] = debug_info(func, "S").source == "=prelude"
end
local function tails_of(text)
    local found
    for before, name, at in gmatch(text, "return%s+([%w_.:]-)([%w_]+)%s*()[({\"']") do
        if wrapped[name] then
            found = found or {}
            local _, breaks = gsub(sub(text, 1, at), "\n", "")
            local line = sub(before, -1) == ":" and -breaks - 1 or breaks + 1
            found[name] = found[name] == nil and line
        end
    end
    return found
end

-- Where in the script an error happened: the caller of the C function that threw it, or the function itself.
local function locate(err)
    err = meaning_from(err, RAISER)
    if type(err) ~= "table" then
        err = { err = "ERR " .. tostring(err) }
    elseif behind[err] then
        err = {}
    end
    local level = RAISER
    local frame = debug_info(level, "S")
    if frame and frame.what == "C" then
        level = level + 1
    end
    frame = frame_from(level)
    if frame then
        rawset(err, "source", frame.source)
        rawset(err, "line", frame.currentline)
    end
    return err
end

-- Of the results of a script only the first counts.
local function first(f, ...)
    local result = f(...)
    return result
end

local redis = {}
for name, value in next, host.redis do
    redis[name] = value
end
if for_functions then
    redis.breakpoint, redis.debug, redis.replicate_commands = nil, nil, nil
end
globals.redis = view(redis)
globals.server = globals.redis

if not for_functions then
    return {
        compile = function(text)
            local script, failure = compile(text, chunk_name)
            if script then
                tails[script] = tails_of(text)
            end
            return script, failure
        end,
        run = function(script, keys, args, one_line)
            single_line, tail_lines = one_line, tails[script]
            restore_collector()
            rawset(globals, "KEYS", keys)
            rawset(globals, "ARGV", args)
            return xpcall(first, locate, script)
        end,
    }
end

-- What the body of a library sees: the means to register functions, and nothing else.
local registering = setmetatable({}, { __index = nonexistent })
for _, name in ipairs({ "log", "LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING", "REDIS_VERSION", "REDIS_VERSION_NUM" }) do
    registering[name] = redis[name]
end
registering.register_function = host.register_function
registering = view(registering)
local loading = setmetatable({ redis = registering, server = registering }, { __index = nonexistent })

return {
    load = function(text)
        local chunk, failure = compile(text, chunk_name)
        if not chunk then
            return false, failure, true
        end
        environment_metatable.__index = loading
        local fine, err = xpcall(chunk, meaning_here)
        environment_metatable.__index = globals
        if fine then
            return true
        end
        if type(err) == "table" then
            return false, rawget(err, "err")
        end
        return false, "ERR " .. tostring(err)
    end,
    run = function(callback, keys, args)
        -- A load that was stopped by force has not come to this.
        environment_metatable.__index = globals
        restore_collector()
        return xpcall(first, locate, callback, keys, args)
    end,
}
