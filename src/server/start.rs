//! From a command line to a running server, and to its orderly end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use super::acceptor::Acceptor;
use super::commands::describe_client;
use super::config::{Config, ConfigError, Invocation, Profile, Settings, ShutdownFlags, Sources, parse_argv};
use super::cpus::Work;
use super::host::{self, Supervisor};
use super::io_thread::{IoLoop, SCRIPT_STACK_BYTES};
use super::listener::{ListenError, Listeners};
use super::loading::{CountingDisk, LOADED_AT_ONCE};
use super::lock::Fair;
use super::log_line::{LogLines, Role};
use super::memory::{AllocatorProbe, Gauge, ServerMeter};
use super::retention::Retention;
use super::rewriting::Rewriting;
use super::saving::Saving;
use super::shared::Shared;
use super::standing::{self, Standing};
use super::state::{Rates, Server, apply_settings};
use super::{
    GRAVEN_VERSION, REDIS_VERSION, apply, background, keeping, limits, listener, loading, log_driver, rewriting,
    saving, signals, title,
};
use crate::command::{Command, CommandTable};
use crate::engine::{Engine, Gate, Stats, Terms, Users, hexadecimal};
use crate::env::disk::{OsDisk, read_file};
use crate::env::{Clock, Disk, Entropy, SystemClock, SystemEntropy, collation};
use crate::keyspace::Keyspace;
use crate::persist::{
    LoadReport, NotLoaded, OpenError, OpenOptions, Reading, SyncPolicy, World, generations, remove_drafts,
};
use crate::value::Limits;

const HELP: &str = "\
Usage: graven [server] [/path/to/redis.conf] [--directive value ...] [-]
       graven [server] -                 read the configuration from standard input
       graven -v | --version
       graven -h | --help
       graven check <directory or file> [--json]

Without a configuration file everything is kept in ./graven-data and acknowledged when it is durable
(appendonly yes, appendfsync always), on 127.0.0.1:6379. With one, or under the name redis-server or
valkey-server, the defaults of a stock server hold.

Examples:
       graven
       graven --port 7777
       graven /etc/redis/redis.conf --loglevel verbose
       echo 'appendfsync everysec' | graven -
";

/// Runs the program: `argv` as the system gave it, `allocator` where memory figures come from.
pub fn run(argv: &[Vec<u8>], allocator: AllocatorProbe) -> ExitCode {
    let working_directory = match std::env::current_dir() {
        Ok(path) => path,
        Err(error) => return fail(&format!("the working directory cannot be used: {}", listener::os_text(&error))),
    };
    match parse_argv(argv, &working_directory) {
        Invocation::Version => {
            println!(
                "graven v={GRAVEN_VERSION} (Redis server v={REDIS_VERSION}) bits={} build={}",
                usize::BITS,
                if cfg!(debug_assertions) { "debug" } else { "release" }
            );
            ExitCode::SUCCESS
        }
        Invocation::Help => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Invocation::Serve { sources, stock } => {
            let profile = if stock { Profile::Stock } else { Profile::Own };
            match serve(&sources, profile, &working_directory, allocator, argv) {
                Ok(()) => ExitCode::SUCCESS,
                Err(Failed::Said) => ExitCode::FAILURE,
                Err(Failed::Config(error)) => fail(&error.to_string()),
                Err(Failed::Because(reason)) => {
                    tracing::error!("{reason}");
                    fail(&reason)
                }
            }
        }
    }
}

fn fail(reason: &str) -> ExitCode {
    eprintln!("{reason}");
    ExitCode::FAILURE
}

/// Why a server did not start.
enum Failed {
    Config(ConfigError),
    Because(String),
    /// The log has it already.
    Said,
}

impl From<ConfigError> for Failed {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

fn because(what: &str, error: &std::io::Error) -> Failed {
    Failed::Because(format!("{what}: {}", listener::os_text(error)))
}

fn serve(
    sources: &Sources,
    profile: Profile,
    working_directory: &Path,
    allocator: AllocatorProbe,
    argv: &[Vec<u8>],
) -> Result<(), Failed> {
    let mut config = Config::new(profile);
    config.load(&sources.read()?)?;
    let mut settings = Settings::resolve(&config, working_directory);
    settings.dir = enter_data_directory(&settings.dir, profile)?;
    config.resolve_directory(&settings.dir);
    // Before the first thread: a fork keeps only the one that calls it.
    if settings.daemonize {
        nix::unistd::daemon(true, false).map_err(|errno| Failed::Because(format!("Can't daemonize: {errno}")))?;
    }
    if settings.sets_title {
        let program = argv.first().map(|name| String::from_utf8_lossy(name).into_owned());
        title::make_room(program.unwrap_or_default(), sources.file.as_ref().map(|path| path.display().to_string()));
    }
    apply::purge_aside(allocator, settings.purges_aside);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let log = start_log(&clock, &settings)?;
    announce(&config, &settings, profile);
    // What the environment names and the system does not have leaves everything in the order of its bytes.
    if !collation::set(&settings.collation) && !settings.collation.is_empty() {
        tracing::warn!("Failed to configure LOCALE for invalid locale name.");
        return Err(Failed::Said);
    }
    let users = load_users(&config, &settings)?;
    abort_on_panic();
    let fitting = limits::open_files_for(settings.maxclients);
    if fitting < settings.maxclients {
        tracing::warn!("Open files allow {fitting} clients only; maxclients has been reduced to that.");
        settings.maxclients = fitting;
    }
    write_pidfile(&settings);
    host::arrange(&settings);
    if settings.show_logo {
        host::show_logo(&settings);
    }
    let supervisor = Supervisor::of(settings.supervised);
    log.set_role(Role::Primary);
    tracing::info!("Running mode=standalone, port={}. PID: {}", settings.port, std::process::id());
    let listeners = match Listeners::open(&settings) {
        Ok(listeners) => listeners,
        Err(error) => {
            tracing::warn!("{error}");
            return Err(Failed::Said);
        }
    };
    title::show(&settings);
    tracing::info!("Server initialized");
    let shared = build(config, &settings, sources, working_directory, &clock, allocator, users)?;
    let nowhere = listeners.is_empty();
    // Taken before the first connection can ask for it.
    let engine = shared.engine.lock_patiently();
    let threads = start_threads(&shared, listeners, &settings)?;
    let engine = load(&shared, engine, &settings, &clock)?;
    if nowhere {
        return Err(Failed::Because(ListenError::Nowhere.to_string()));
    }
    // Said before the first command is served: whoever was answered finds it in the log.
    tracing::info!("Ready to accept connections tcp");
    supervisor.ready();
    shared.loading.finish();
    drop(engine);
    let flags = loop {
        let flags = shared.wait_for_shutdown();
        tracing::warn!("User requested shutdown...");
        supervisor.stopping();
        match saving::before_the_end(&shared, flags) {
            Ok(()) => break flags,
            Err(()) => tracing::warn!("Errors trying to shut down the server, check the logs for more information"),
        }
    };
    end(&shared, threads, flags)
}

/// Loads the data into an engine of its own, gives it to the one that serves, and starts the log. A load that takes its time
/// lets go of the serving engine meanwhile, which then answers what needs no data; it is held again at the end.
fn load<'s>(
    shared: &'s Arc<Shared>,
    mut engine: Fair<'s, Engine>,
    settings: &Settings,
    clock: &Arc<dyn Clock>,
) -> Result<Fair<'s, Engine>, Failed> {
    let no_randomness = |error| because("No randomness", &error);
    let entropy = SystemEntropy::new().map_err(no_randomness)?;
    let store = Keyspace::new(settings.databases, engine.store.limits);
    let of_loader = Box::new(SystemEntropy::new().map_err(no_randomness)?);
    let mut loader = Engine::new(store, &[], Arc::clone(clock), of_loader, Box::new(()));
    loader.parts.table = Arc::clone(&engine.parts.table);
    loader.parts.stats = Stats::new(loader.parts.table.all().len());
    loader.store.set_access_policy(settings.access_policy, clock.unix_millis());
    apply_settings(&mut loader.parts, settings);
    let disk: Arc<dyn Disk> = Arc::new(CountingDisk::new(Arc::new(OsDisk), Arc::clone(&shared.loading)));
    let dump = settings.dump_path();
    shared.loading.set_total(loading::total_bytes(&*disk, &settings.dir.join(&settings.append_dirname), &dump));
    let options = OpenOptions {
        directory: settings.dir.clone(),
        append_only: settings.appendonly,
        append_directory: settings.append_dirname.clone(),
        append_file: settings.append_filename.clone(),
        dump_file: settings.dump_filename.clone(),
        load_truncated: settings.aof_load_truncated,
        segment_bytes_max: settings.segment_bytes_max,
        unsynced_bytes_max: settings.unsynced_bytes_max,
        timestamps: settings.log_timestamps,
        preallocate: settings.preallocate,
        align: settings.align,
        keep_superseded: settings.keep_superseded || settings.retain.is_on(),
        policy: sync_policy(settings.appendfsync),
        limits: loader.store.limits,
        reading: Reading {
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            clock: loader.store.db(0).access_clock(),
            used_memory: Arc::clone(&shared.loading.used_memory),
            ..Reading::default()
        },
    };
    let world = World { disk, clock: Arc::clone(clock), entropy: Box::new(entropy) };
    let (done, loaded) = std::sync::mpsc::channel();
    let thread = Builder::new().name("loader".into()).stack_size(SCRIPT_STACK_BYTES).spawn(move || {
        let opened = loader.open(world, &options);
        // Whoever waits for it is there until the process ends.
        let _ = done.send((loader, opened));
    });
    thread.map_err(|error| because("No thread to load with", &error))?;
    let (loader, opened) = match loaded.recv_timeout(LOADED_AT_ONCE) {
        Ok(loaded) => loaded,
        Err(_) => {
            engine.parts.settings.loading = true;
            drop(engine);
            let loaded = loaded.recv().map_err(|_| Failed::Because("The data could not be loaded".into()))?;
            engine = shared.engine.lock_patiently();
            engine.parts.settings.loading = false;
            loaded
        }
    };
    let opened = opened.map_err(|error| Failed::Because(refusal(&error, &dump)))?;
    engine.adopt(loader).map_err(|error| Failed::Because(format!("A library of functions: {}", error.text())))?;
    // What has been set meanwhile holds for the data too.
    let settings = &*shared.settings();
    engine.store.set_access_policy(settings.access_policy, clock.unix_millis());
    report(&opened.report, shared, settings);
    let expired = engine.store.due_len(clock.unix_millis()) as u64;
    if let Ok(server) = Server::in_parts(&mut engine.parts) {
        server.saving.loaded(opened.report.keys, expired, clock.unix_millis());
    }
    *shared.standing.lock() = Some(Standing {
        directory: settings.dir.clone(),
        lineage: opened.lineage,
        known_dump: opened.known_dump,
        log_below: opened.log_below,
        noted: None,
    });
    if let Err(error) = remove_drafts(&OsDisk, &dump) {
        tracing::warn!("Drafts of snapshots stay beside {}: {error}", dump.display());
    }
    standing::prune(shared);
    log_driver::start(shared, opened).map_err(|error| because("The log's threads cannot be started", &error))?;
    apply::tell_log(shared, settings);
    shared.keeping.look_again();
    Ok(engine)
}

/// Ends the process while the data is being loaded: nobody was promised anything yet, and opening a directory can be broken
/// off anywhere.
pub fn give_up_loading() -> ! {
    tracing::warn!("Loading is given up; graven is now ready to exit, bye bye...");
    std::process::exit(0);
}

/// Why nothing is served, and what else there is.
fn refusal(error: &OpenError, dump: &Path) -> String {
    let earlier = generations(&OsDisk, dump).unwrap_or_default();
    match (error, earlier.last()) {
        (OpenError::BadBase { path, .. }, Some((_, earlier))) if path == dump => {
            format!("{error}. The snapshot before it is kept as {}", earlier.display())
        }
        _ => error.to_string(),
    }
}

/// `appendfsync` as the log knows it.
pub fn sync_policy(word: &str) -> SyncPolicy {
    match word {
        "always" => SyncPolicy::Always,
        "no" => SyncPolicy::No,
        _ => SyncPolicy::Everysec,
    }
}

/// Says in one line what was loaded, how fast, up to which position; and what else the operator should know.
fn report(report: &LoadReport, shared: &Shared, settings: &Settings) {
    let seconds = shared.loading.elapsed().as_secs_f64();
    if report.keys > 0 {
        tracing::info!("Done loading RDB, keys loaded: {}, keys expired: 0.", report.keys);
    }
    tracing::info!(
        "DB loaded from {}: {seconds:.3} seconds ({} files, {} bytes, {} keys of a base, {} commands, {} frames, \
         {:.1} MB/s, up to LSN {}, {})",
        report.source,
        report.files,
        report.bytes,
        report.keys,
        report.commands,
        report.frames,
        report.bytes as f64 / 1e6 / seconds.max(1e-6),
        report.end,
        if report.clean { "after a clean close" } else { "not closed before" }
    );
    if let Some((file, offset, bytes)) = &report.torn {
        tracing::warn!(
            "{} was torn by a crash: {bytes} bytes from offset {offset} on, never acknowledged as durable, were cut and \
             kept beside it",
            file.display()
        );
    }
    if let Some(commands) = report.visited {
        tracing::warn!("Another server has written here since: {commands} commands of it were loaded by stock's rules");
    }
    if !settings.appendonly {
        let kept = if settings.save_points.is_empty() { "by SAVE and BGSAVE only" } else { "at save points only" };
        tracing::warn!("The append-only file is off (appendonly no): what is written from now on is kept {kept}");
    }
    match &report.not_loaded {
        Some(NotLoaded::Log(path)) => tracing::warn!(
            "The log in {} is not loaded, because the append-only file is off, and the dump that is was not saved beside \
             it: switched on again, a start loads the log and not what is written from now on",
            path.display()
        ),
        Some(NotLoaded::Dump(path)) => tracing::warn!(
            "{} is not loaded, because the append-only file is on: it was not saved beside this log. It is kept under \
             another name before a save replaces it",
            path.display()
        ),
        None => {}
    }
}

/// Makes the data directory the working directory, as stock does: relative names in it mean the same everywhere. Returns
/// its absolute path.
fn enter_data_directory(dir: &Path, profile: Profile) -> Result<PathBuf, Failed> {
    #[expect(clippy::disallowed_methods, reason = "the directory that the disk is opened in")]
    if profile == Profile::Own && !dir.exists() {
        std::fs::create_dir_all(dir).map_err(|error| because(&format!("Can't create {}", dir.display()), &error))?;
    }
    std::env::set_current_dir(dir)
        .and_then(|()| std::env::current_dir())
        .map_err(|error| because(&format!("Can't chdir to '{}'", dir.display()), &error))
}

fn start_log(clock: &Arc<dyn Clock>, settings: &Settings) -> Result<Arc<LogLines>, Failed> {
    let log = LogLines::new(Arc::clone(clock));
    log.set_level(settings.loglevel);
    log.set_form(settings.log_form);
    if let Some(syslog) = &settings.syslog {
        log.add_syslog(syslog);
    }
    log.set_file(settings.logfile.clone()).map_err(|error| because("Can't open the log file", &error))?;
    log.install();
    Ok(log)
}

fn announce(config: &Config, settings: &Settings, profile: Profile) {
    tracing::warn!("oO0OoO0OoO0Oo graven is starting oO0OoO0OoO0Oo");
    tracing::warn!(
        "graven version={GRAVEN_VERSION}, Redis version={REDIS_VERSION}, bits={}, pid={}, just started",
        usize::BITS,
        std::process::id()
    );
    tracing::warn!(
        "Configuration loaded ({} defaults, data in {})",
        if profile == Profile::Stock { "stock" } else { "graven's own" },
        settings.dir.display()
    );
    if (1..1 << 20).contains(&settings.memory.max) {
        tracing::warn!(
            "WARNING: You specified a maxmemory value that is less than 1MB (current value is {} bytes). Are you sure \
             this is what you really want?",
            settings.memory.max
        );
    }
    let idle = config.without_effect();
    if !idle.is_empty() {
        tracing::warn!("Accepted, but without effect in this version: {}", idle.join(", "));
    }
}

/// A broken promise of our own ends the process: the log is what the next start trusts, not half a state in memory.
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        tracing::error!("graven is about to abort: {info}");
        print(info);
        std::process::abort();
    }));
}

fn write_pidfile(settings: &Settings) {
    let default = settings.daemonize.then(|| PathBuf::from("/var/run/redis.pid"));
    let Some(path) = settings.pidfile.clone().or(default) else { return };
    #[expect(clippy::disallowed_methods, reason = "the pid file is the operator's, outside of the data directory")]
    let written = std::fs::write(&path, format!("{}\n", std::process::id()));
    if let Err(error) = written {
        tracing::warn!("Failed to write PID file: {}", listener::os_text(&error));
    }
}

fn build(
    config: Config,
    settings: &Settings,
    sources: &Sources,
    working_directory: &Path,
    clock: &Arc<dyn Clock>,
    allocator: AllocatorProbe,
    users: Users,
) -> Result<Arc<Shared>, Failed> {
    let mut entropy = SystemEntropy::new().map_err(|error| because("No randomness", &error))?;
    let mut id = [0; 20];
    entropy.fill(&mut id);
    let run_id = hexadecimal(&id);
    entropy.fill(&mut id);
    let passing_replication_id = hexadecimal(&id);
    let seed = crate::ds::HashSeed(entropy.next_u64(), entropy.next_u64());
    let store = Keyspace::new(settings.databases, Limits { hash_seed: seed, ..settings.limits });
    let mut engine = Engine::new(store, &all_families(), Arc::clone(clock), Box::new(entropy), Box::new(()));
    rename_commands(&config, &mut engine)?;
    engine.parts.access.users = users;
    engine.parts.describe_client = describe_client;
    apply_settings(&mut engine.parts, settings);
    engine.store.set_access_policy(settings.access_policy, clock.unix_millis());
    let gauge = Arc::new(Gauge::new(allocator));
    engine.parts.memory.meter = Some(Box::new(ServerMeter(Arc::clone(&gauge))));
    let startup = gauge.peak();
    let gate = Arc::new(Gate::open());
    let shared = Arc::new(Shared::new(engine, gate, Arc::clone(clock), settings.clone(), gauge));
    let server = Server {
        shared: Arc::downgrade(&shared),
        config,
        config_file: sources.file.clone(),
        executable: std::env::current_exe().unwrap_or_default(),
        working_directory: working_directory.to_owned(),
        run_id,
        passing_replication_id,
        started_at: clock.unix_millis(),
        started: clock.monotonic(),
        rates: Rates::default(),
        allocator,
        startup_memory: startup,
        awaiting_sync: BTreeMap::new(),
        errands: BTreeMap::new(),
        saving: Saving::new(clock.unix_millis()),
        rewriting: Rewriting::default(),
        retention: Retention::new(Arc::clone(&shared.brake)),
    };
    shared.engine.lock_patiently().parts.server = Box::new(server);
    let control = Arc::downgrade(&shared);
    shared.script.on_busy(Box::new(move || {
        if let Some(shared) = control.upgrade() {
            IoLoop::call_stand_in(&shared);
        }
    }));
    Ok(shared)
}

fn all_families() -> Vec<&'static [Command]> {
    let mut families = crate::engine::families();
    families.extend(super::families());
    families
}

/// The users of the configuration: `requirepass`, then its `user` lines or the ACL file.
fn load_users(config: &Config, settings: &Settings) -> Result<Users, Failed> {
    let table = CommandTable::new(&all_families());
    let terms = Terms { table: &table, all_channels: settings.acl_all_channels };
    let users = Users::new(&table);
    users.set_default_password(&settings.password, &table);
    for line in config.users() {
        let [_, name, rules @ ..] = line.words.as_slice() else { continue };
        users.add_configured(name, rules, terms).map_err(|(word, error)| {
            let word = String::from_utf8_lossy(&word);
            ConfigError::at(line, format!("Error in user declaration '{word}': {}", error.text()))
        })?;
    }
    if settings.acl_filename.is_empty() {
        return Ok(users);
    }
    if !config.users().is_empty() {
        tracing::warn!(
            "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is invalid. This \
             setup is very likely to lead to configuration errors and security holes, please define either an ACL file \
             or declare users directly in your redis.conf, but not both."
        );
        return Err(Failed::Said);
    }
    let name = &settings.acl_filename;
    let loaded = read_file(&OsDisk, &settings.acl_path())
        .map_err(|error| format!("Error loading ACLs, opening file '{name}': {}", listener::os_text(&error)))
        .and_then(|text| Users::parse_file(&text, name, terms));
    match loaded {
        Ok(loaded) => users.replace_all(loaded, &table),
        Err(errors) => {
            tracing::warn!("Aborting Redis startup because of ACL errors: {errors}");
            return Err(Failed::Said);
        }
    }
    Ok(users)
}

fn rename_commands(config: &Config, engine: &mut Engine) -> Result<(), Failed> {
    if config.renames().is_empty() {
        return Ok(());
    }
    let Some(table): Option<&mut CommandTable> = Arc::get_mut(&mut engine.parts.table) else {
        return Err(Failed::Because("commands cannot be renamed any more".into()));
    };
    for rename in config.renames() {
        table.rename(&rename.from, &rename.to).map_err(|reason| ConfigError::at(&rename.line, reason))?;
    }
    Ok(())
}

fn start_threads(
    shared: &Arc<Shared>,
    listeners: Listeners,
    settings: &Settings,
) -> Result<Vec<JoinHandle<()>>, Failed> {
    let failed = |error: std::io::Error| because("The server's threads cannot be started", &error);
    let loops = (0..settings.io_threads).map(|_| IoLoop::new()).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    loops[0].accept_with(Acceptor::new(listeners, settings)).map_err(failed)?;
    shared.set_loops(loops);
    let mut threads = background::start(shared).map_err(failed)?;
    threads.extend(keeping::start(shared).map_err(failed)?);
    for (number, io) in shared.loops().iter().enumerate() {
        let (io, shared) = (Arc::clone(io), Arc::clone(shared));
        let builder = Builder::new().name(format!("io-{number}")).stack_size(SCRIPT_STACK_BYTES);
        let thread = builder.spawn(move || {
            shared.settings().cpus.take(Work::Serving);
            io.run(&shared);
        });
        let thread = thread.map_err(failed)?;
        threads.push(thread);
    }
    start_signals(shared).map_err(failed)?;
    Ok(threads)
}

/// The thread that hears signals; it ends with the process.
fn start_signals(shared: &Arc<Shared>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let shared = Arc::clone(shared);
    let listening = {
        let _context = runtime.enter();
        signals::listen(Arc::new(move |signal| {
            tracing::warn!("{}", signal.log_text());
            if shared.loading.is_under_way() {
                give_up_loading();
            }
            shared.request_shutdown(signal.flags(&shared.settings()));
        }))
    };
    listening?;
    Builder::new().name("signals".into()).spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(())
}

/// Ends everything in order: no command is begun any more, what was promised is made true and sent, then the threads
/// go.
fn end(shared: &Arc<Shared>, threads: Vec<JoinHandle<()>>, flags: ShutdownFlags) -> Result<(), Failed> {
    if flags.nosave {
        shared.script.abandon();
    }
    shared.drain();
    let settings = shared.settings();
    // Whoever holds the engine finishes first; nobody begins anything behind it. A script that takes too long is given
    // up as a whole.
    if shared.engine.lock_within(settings.shutdown_timeout).is_none() {
        shared.script.abandon();
        drop(shared.engine.lock_patiently());
    }
    rewriting::cancel(shared);
    let sealed = log_driver::seal(shared, settings.shutdown_timeout);
    shared.stop();
    for thread in threads {
        // A thread that panicked has ended the process already.
        let _ = thread.join();
    }
    #[expect(clippy::disallowed_methods, reason = "files of the operator, outside of the data directory")]
    for path in [&settings.pidfile, &settings.unixsocket].into_iter().flatten() {
        // A file that is gone already, or cannot be removed, keeps nobody from ending.
        let _ = std::fs::remove_file(path);
    }
    if !sealed {
        let trouble = shared.log().and_then(|log| log.progress.trouble());
        let reason =
            trouble.map_or("it takes too long".to_owned(), |trouble| format!("{}: {}", trouble.path, trouble.error));
        tracing::warn!("Errors trying to shut down the server: the log could not be sealed ({reason}).");
        return Err(Failed::Said);
    }
    if let Some(log) = shared.log() {
        log.join();
        tracing::info!("The log is closed at LSN {}", log.progress.durable());
    }
    tracing::warn!("graven is now ready to exit, bye bye...");
    Ok(())
}
