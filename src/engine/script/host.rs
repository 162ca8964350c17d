//! What the host gives an interpreter: the redis library, `math.random`, a clock, and the libraries of [`library`].
//!
//! [`library`]: super::library

use super::arguments::{Arguments, numeric, to_i32};
use super::convert;
use super::number::Random48;
use super::shebang::{BAD_NAME, ScriptFlags, valid_name};
use super::thrown::Thrown;
use super::vm::sha1_hex;
use crate::env::Clock;
use mlua::{Function, Lua, MultiValue, Table, Value};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// What host functions and the owner of the interpreter share.
#[derive(Clone, Default)]
pub struct Shared {
    /// The function that performs commands for the script that runs.
    pub performer: Arc<Mutex<Option<Function>>>,
    /// What it is to perform: its words do not fit the interpreter's stack twice.
    pub asked: Arc<Mutex<Asked>>,
    /// The protocol version that the running script asked replies in (`redis.setresp`).
    pub protocol: Arc<AtomicU8>,
    /// False after `redis.set_repl` without the log: what the running script does then is not logged.
    pub logged: Arc<AtomicBool>,
    /// Functions that the library being loaded has registered.
    pub registered: Arc<Mutex<Vec<Registered>>>,
}

/// A function of a library.
#[derive(Clone, Debug)]
pub struct Registered {
    pub name: String,
    pub callback: Function,
    pub flags: ScriptFlags,
    pub description: Option<Vec<u8>>,
}

/// A question and its words, or why they are no command.
pub type Asked = Option<(Ask, Result<Vec<Vec<u8>>, &'static str>)>;

/// What a script asks of the function that performs commands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Call,
    /// May the user call this (`redis.acl_check_cmd`)?
    MayCall,
}

const LOG_LEVELS: [&str; 4] = ["LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING"];
const REPL_AOF: i32 = 1;
const REPL: [(&str, i32); 5] =
    [("REPL_NONE", 0), ("REPL_AOF", REPL_AOF), ("REPL_SLAVE", 2), ("REPL_REPLICA", 2), ("REPL_ALL", 3)];

/// The table that the prelude takes. `seed`: of `math.random`.
pub fn functions(lua: &Lua, shared: &Shared, clock: Arc<dyn Clock>, seed: i32) -> mlua::Result<Table> {
    let host = lua.create_table()?;
    random(lua, &host, seed)?;
    host.raw_set("clock", lua.create_function(move |_, ()| Ok(clock.monotonic().as_secs_f64()))?)?;
    host.raw_set(
        "thrown",
        lua.create_function(|lua, value: Value| match value {
            Value::Error(error) => Thrown::of(&error).into_value(lua),
            other => Ok(other),
        })?,
    )?;
    let registered = Arc::clone(&shared.registered);
    host.raw_set("register_function", lua.create_function(move |lua, values| register(lua, values, &registered))?)?;
    host.raw_set("libraries", super::library::libraries(lua)?)?;
    host.raw_set("redis", redis(lua, shared)?)?;
    Ok(host)
}

fn random(lua: &Lua, host: &Table, seed: i32) -> mlua::Result<()> {
    let generator = Arc::new(Mutex::new(Random48::seeded(seed)));
    let drawing = Arc::clone(&generator);
    host.raw_set(
        "random",
        lua.create_function(move |lua, values| {
            let args = Arguments::new(lua, values);
            let drawn = drawing.lock().next();
            let (low, high) = match args.len() {
                0 => return Ok(drawn),
                1 => (1, to_i32(args.number(1)?)),
                2 => (to_i32(args.number(1)?), to_i32(args.number(2)?)),
                _ => return Err(Thrown::at_caller(lua, "wrong number of arguments")),
            };
            if low > high {
                return Err(args.bad(args.len(), "interval is empty"));
            }
            Ok((drawn * (f64::from(high) - f64::from(low) + 1.0)).floor() + f64::from(low))
        })?,
    )?;
    host.raw_set(
        "randomseed",
        lua.create_function(move |lua, values| {
            let seed = to_i32(Arguments::new(lua, values).number(1)?);
            *generator.lock() = Random48::seeded(seed);
            Ok(())
        })?,
    )
}

fn redis(lua: &Lua, shared: &Shared) -> mlua::Result<Table> {
    let redis = lua.create_table()?;
    add_calls(lua, &redis, shared)?;
    redis.raw_set("error_reply", lua.create_function(|lua, values| single_field(lua, &values, "err"))?)?;
    redis.raw_set("status_reply", lua.create_function(|lua, values| single_field(lua, &values, "ok"))?)?;
    redis.raw_set(
        "sha1hex",
        lua.create_function(|lua, values: MultiValue| {
            if values.len() != 1 {
                return Err(Thrown::table("wrong number of arguments"));
            }
            let text = Arguments::new(lua, values).bytes(1).unwrap_or_default();
            lua.create_string(sha1_hex(&text))
        })?,
    )?;
    redis.raw_set("log", lua.create_function(|lua, values| log(&Arguments::new(lua, values)))?)?;
    let protocol = Arc::clone(&shared.protocol);
    redis.raw_set(
        "setresp",
        lua.create_function(move |lua, values| {
            let args = Arguments::new(lua, values);
            if args.len() != 1 {
                return Err(Thrown::table("redis.setresp() requires one argument."));
            }
            match args.number_or_none(1).map(to_i32) {
                Some(version @ (2 | 3)) => protocol.store(version as u8, Ordering::Relaxed),
                _ => return Err(Thrown::table("RESP version must be 2 or 3.")),
            }
            Ok(())
        })?,
    )?;
    let logged = Arc::clone(&shared.logged);
    redis.raw_set(
        "set_repl",
        lua.create_function(move |lua, values| {
            let args = Arguments::new(lua, values);
            if args.len() != 1 {
                return Err(Thrown::table("redis.set_repl() requires two arguments."));
            }
            let flags = to_i32(args.number_or_none(1).unwrap_or(0.0));
            if flags & !3 != 0 {
                let text = "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
                return Err(Thrown::table(text));
            }
            logged.store(flags & REPL_AOF != 0, Ordering::Relaxed);
            Ok(())
        })?,
    )?;
    redis.raw_set("replicate_commands", lua.create_function(|_, _: MultiValue| Ok(true))?)?;
    redis.raw_set("breakpoint", lua.create_function(|_, _: MultiValue| Ok(false))?)?;
    redis.raw_set("debug", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    for (level, name) in LOG_LEVELS.into_iter().enumerate() {
        redis.raw_set(name, level)?;
    }
    for (name, flags) in REPL {
        redis.raw_set(name, flags)?;
    }
    redis.raw_set("REDIS_VERSION", crate::REDIS_VERSION)?;
    redis.raw_set("REDIS_VERSION_NUM", version_number(crate::REDIS_VERSION))?;
    Ok(redis)
}

/// `0x00MMmmpp`.
fn version_number(version: &str) -> u32 {
    version.split('.').take(3).fold(0, |number, part| number << 8 | part.parse::<u32>().unwrap_or(0))
}

/// `call`, `pcall` and `acl_check_cmd`.
fn add_calls(lua: &Lua, redis: &Table, shared: &Shared) -> mlua::Result<()> {
    let add = |name: &str, ask: Ask, raises: bool| {
        let shared = shared.clone();
        let function = lua.create_function(move |_, words: MultiValue| match perform(&shared, ask, &words)? {
            (Value::Table(error), true) if raises => Err(raised(&error)),
            (reply, _) if ask == Ask::MayCall => Ok(Value::Boolean(numeric(&reply) == Some(1.0))),
            (reply, _) => Ok(reply),
        })?;
        redis.raw_set(name, function)
    };
    add("call", Ask::Call, true)?;
    add("pcall", Ask::Call, false)?;
    add("acl_check_cmd", Ask::MayCall, true)
}

/// The reply, and whether it is an error.
fn perform(shared: &Shared, ask: Ask, words: &MultiValue) -> mlua::Result<(Value, bool)> {
    let Some(function) = shared.performer.lock().clone() else {
        return Err(Thrown::table("redis.call/pcall can only be called inside a script invocation"));
    };
    let argv: Option<Vec<Vec<u8>>> = words.iter().map(convert::argument).collect();
    let argv = match argv {
        Some(argv) if argv.is_empty() => Err("ERR Please specify at least one argument for this redis lib call"),
        Some(argv) => Ok(argv),
        None => Err("ERR Lua redis lib command arguments must be strings or integers"),
    };
    *shared.asked.lock() = Some((ask, argv));
    function.call(())
}

/// An error table, thrown.
fn raised(error: &Table) -> mlua::Error {
    let text = error.raw_get::<mlua::LuaString>("err").map(|text| text.as_bytes().to_vec()).unwrap_or_default();
    let counted = error.raw_get::<bool>(super::thrown::COUNTED).unwrap_or(false);
    Thrown::Table { text, counted }.into()
}

/// A table with one text, as error and status replies are.
fn single_field(lua: &Lua, values: &MultiValue, field: &str) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    match values.front() {
        Some(Value::String(text)) if values.len() == 1 => {
            let text = text.as_bytes();
            table.raw_set(
                field,
                lua.create_string(if field == "err" { convert::coded(&text) } else { text.to_vec() })?,
            )?;
        }
        _ => table.raw_set("err", "ERR wrong number or type of arguments")?,
    }
    Ok(table)
}

fn log(args: &Arguments<'_>) -> mlua::Result<()> {
    if args.len() < 2 {
        return Err(Thrown::table("redis.log() requires two arguments or more."));
    }
    let Some(level) = args.number_or_none(1) else {
        return Err(Thrown::table("First argument must be a number (log level)."));
    };
    let level = to_i32(level);
    if !(0..=3).contains(&level) {
        return Err(Thrown::table("Invalid debug level."));
    }
    let words: Vec<String> = (2..=args.len())
        .filter_map(|number| args.bytes(number).ok())
        .map(|word| String::from_utf8_lossy(&word).into_owned())
        .collect();
    let text = words.join(" ");
    match level {
        0 => tracing::debug!("{text}"),
        1 => tracing::info!(target: "verbose", "{text}"),
        2 => tracing::info!("{text}"),
        _ => tracing::warn!("{text}"),
    }
    Ok(())
}

/// `redis.register_function`, in both its forms.
fn register(lua: &Lua, values: MultiValue, registered: &Mutex<Vec<Registered>>) -> mlua::Result<()> {
    let args = Arguments::new(lua, values);
    let function = match args.len() {
        1 => named_arguments(&args)?,
        2 => {
            let name = args.bytes(1);
            let name = name.map_err(|_| refused("first argument to redis.register_function must be a string"))?;
            let Some(Value::Function(callback)) = args.get(2) else {
                return Err(refused("second argument to redis.register_function must be a function"));
            };
            Registration { name, callback: callback.clone(), flags: ScriptFlags::NONE, description: None }
        }
        _ => return Err(refused("wrong number of arguments to redis.register_function")),
    };
    let Some(name) = valid_name(&function.name) else {
        return Err(Thrown::Table { text: BAD_NAME.into(), counted: false }.into());
    };
    let mut registered = registered.lock();
    if registered.iter().any(|known| known.name == name) {
        return Err(refused("Function already exists in the library"));
    }
    let Registration { callback, flags, description, .. } = function;
    registered.push(Registered { name, callback, flags, description });
    Ok(())
}

fn refused(text: &str) -> mlua::Error {
    Thrown::table(text)
}

struct Registration {
    name: Vec<u8>,
    callback: Function,
    flags: ScriptFlags,
    description: Option<Vec<u8>>,
}

fn named_arguments(args: &Arguments<'_>) -> mlua::Result<Registration> {
    let Some(table) = args.table(1) else {
        return Err(refused(
            "calling redis.register_function with a single argument is only applicable to Lua table (representing named \
             arguments).",
        ));
    };
    let text_of = |value: &Value| match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        other => numeric(other).map(|_| super::arguments::number_text(other)),
    };
    let (mut name, mut callback, mut flags, mut description) = (None, None, ScriptFlags::NONE, None);
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let key = text_of(&key)
            .ok_or_else(|| refused("named argument key given to redis.register_function is not a string"))?;
        match key.to_ascii_lowercase().as_slice() {
            b"function_name" => {
                let given = text_of(&value).ok_or_else(|| {
                    refused("function_name argument given to redis.register_function must be a string")
                })?;
                name = Some(given);
            }
            b"description" => {
                let given = text_of(&value)
                    .ok_or_else(|| refused("description argument given to redis.register_function must be a string"))?;
                description = Some(given);
            }
            b"callback" => match value {
                Value::Function(function) => callback = Some(function),
                _ => return Err(refused("callback argument given to redis.register_function must be a function")),
            },
            b"flags" => match value {
                Value::Table(list) => flags = flags_of(&list)?,
                _ => {
                    return Err(refused(
                        "flags argument to redis.register_function must be a table representing function flags",
                    ));
                }
            },
            _ => return Err(refused("unknown argument given to redis.register_function")),
        }
    }
    let name = name.ok_or_else(|| refused("redis.register_function must get a function name argument"))?;
    let callback = callback.ok_or_else(|| refused("redis.register_function must get a callback argument"))?;
    Ok(Registration { name, callback, flags, description })
}

fn flags_of(list: &Table) -> mlua::Result<ScriptFlags> {
    let mut flags = ScriptFlags::NONE;
    for at in 1.. {
        let flag = match list.raw_get::<Value>(at)? {
            Value::Nil => break,
            Value::String(name) => ScriptFlags::of_name(&name.as_bytes().to_ascii_lowercase()),
            _ => None,
        };
        flags = flags.and(flag.ok_or_else(|| refused("unknown flag given"))?);
    }
    Ok(flags)
}
