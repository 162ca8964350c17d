//! Settings as the server works with them: typed, with paths made absolute.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::store::Config;
use super::value::{BufferLimit, SavePoint, Value};
use crate::engine::MemoryLimit;
use crate::keyspace::{AccessPolicy, EvictionOrder, EvictionPolicy};
use crate::persist::archive::Retain;
use crate::persist::rdb::SavedAccess;
use crate::server::cpus::CpuLists;
use crate::server::defrag::DefragSettings;
use crate::value::Limits;

/// One `bind` word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindAddress {
    /// An address, or `*` and `::*` for all.
    pub host: String,
    /// Written with a leading `-`: skipped when the system does not have it.
    pub optional: bool,
}

/// Who may use a command (`enable-debug-command`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locality {
    Nobody,
    Everybody,
    LocalConnections,
}

/// `loglevel`, from the most to the least talkative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Debug,
    Verbose,
    Notice,
    Warning,
}

/// How a line of the log is written (`log-format`, `log-timestamp-format`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogForm {
    /// As `key=value` pairs.
    pub logfmt: bool,
    pub stamps: Stamps,
}

/// How the log tells the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamps {
    /// `dd Mon yyyy hh:mm:ss.mmm`.
    Legacy,
    /// `yyyy-mm-ddThh:mm:ss.mmm+hh:mm`.
    Iso8601,
    /// Since 1970.
    Milliseconds,
}

/// The system's log, and who writes there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    pub ident: Vec<u8>,
    /// `user` or `local0` to `local7`.
    pub facility: &'static str,
}

/// What a signal or SHUTDOWN asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownFlags {
    pub save: bool,
    pub nosave: bool,
    /// Do not wait for replicas.
    pub now: bool,
    /// Exit even when the last write fails.
    pub force: bool,
}

/// What becomes of the score by which the system chooses its victims (`oom-score-adj`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomScore {
    Unchanged,
    /// Added to that of the start.
    Relative(i64),
    Absolute(i64),
}

/// What the server works with. Sizes in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub bind: Vec<BindAddress>,
    pub port: u16,
    pub tcp_backlog: i32,
    /// What the system marks the packets of connections with (`socket-mark-id`); 0: nothing.
    pub socket_mark: u32,
    pub tcp_keepalive: Option<Duration>,
    pub unixsocket: Option<PathBuf>,
    pub unixsocket_mode: Option<u32>,
    /// Of the unix socket (`unixsocketgroup`); empty: the process's own.
    pub unixsocket_group: String,
    /// Connections accepted in one go (`max-new-connections-per-cycle`).
    pub accepts_per_turn: usize,
    pub idle_timeout: Option<Duration>,
    pub protected_mode: bool,
    pub debug_command: Locality,
    pub module_command: Locality,
    pub maxclients: usize,
    pub io_threads: usize,
    pub daemonize: bool,
    pub pidfile: Option<PathBuf>,
    pub logfile: Option<PathBuf>,
    pub loglevel: LogLevel,
    pub log_form: LogForm,
    /// Where else the log's lines go (`syslog-enabled`).
    pub syslog: Option<Syslog>,
    /// `set-proc-title`.
    pub sets_title: bool,
    /// `proc-title-template`.
    pub title_template: String,
    /// `locale-collate`; empty: that of the environment.
    pub collation: String,
    /// The processors that threads run on.
    pub cpus: CpuLists,
    /// `jemalloc-bg-thread`.
    pub purges_aside: bool,
    /// `always-show-logo`.
    pub show_logo: bool,
    /// `no`, `systemd`, `upstart` or `auto`.
    pub supervised: &'static str,
    pub disable_huge_pages: bool,
    pub oom_score: OomScore,
    pub availability_zone: String,
    pub databases: u32,
    pub password: Vec<u8>,
    /// The ACL file as it was configured; empty: none. See `acl_path`.
    pub acl_filename: String,
    pub acl_all_channels: bool,
    /// What all connections may hold together (`maxmemory-clients`), in bytes; 0: no limit.
    pub client_bytes_max: u64,
    pub acl_log_len_max: usize,
    /// 0: any number.
    pub tracking_keys_max: usize,
    /// Absolute.
    pub dir: PathBuf,
    pub appendonly: bool,
    /// `always`, `everysec` or `no`.
    pub appendfsync: &'static str,
    pub append_filename: String,
    pub append_dirname: String,
    pub dump_filename: String,
    pub rdb_compression: bool,
    pub rdb_checksum: bool,
    pub rdb_version: u16,
    /// Syncs a dump under work in portions.
    pub rdb_sync: bool,
    /// Bytes a second that each snapshot may write (`snapshot-max-mb-per-sec`); 0: any number.
    pub snapshot_rate: u64,
    /// Threads that write a snapshot (`snapshot-threads`; 0: as many as there are processors, at most four).
    pub snapshot_threads: usize,
    /// Bytes that a snapshot may retain (`snapshot-max-retained`); 0: any number.
    pub snapshot_retained_max: u64,
    /// Dumps that are kept, the one in place counted (`snapshot-generations`).
    pub snapshot_generations: usize,
    pub defrag: DefragSettings,
    /// Bytes on the log's disk that are given up when it is full (`emergency-reserve`); 0: none.
    pub emergency_reserve: u64,
    /// What a dump remembers of the uses of keys, by `maxmemory-policy`.
    pub saved_access: SavedAccess,
    pub save_points: Vec<SavePoint>,
    /// `stop-writes-on-bgsave-error`.
    pub stop_writes: bool,
    pub aof_load_truncated: bool,
    /// `auto-aof-rewrite-percentage`; 0: never by itself.
    pub rewrite_percentage: u64,
    pub rewrite_min_size: u64,
    /// `aof-use-rdb-preamble`: a base is an RDB file, else commands.
    pub rdb_preamble: bool,
    /// `aof-rewrite-incremental-fsync`.
    pub rewrite_sync: bool,
    /// `aof-disable-auto-gc`.
    pub keep_superseded: bool,
    /// What is kept of superseded files (`aof-retain-time`, `aof-retain-size`).
    pub retain: Retain,
    /// Bytes a second that the archiver may read (`archive-max-mb-per-sec`); 0: any number.
    pub archive_rate: u64,
    /// How often everything is verified (`scrub-period`), and how many bytes a second (0: any number).
    pub scrub_period: Option<Duration>,
    pub scrub_rate: u64,
    pub segment_bytes_max: u64,
    pub unsynced_bytes_max: u64,
    /// `aof-timestamp-enabled`.
    pub log_timestamps: bool,
    /// `aof-preallocate`, and `aof-align` in bytes; 0: not.
    pub preallocate: bool,
    pub align: u64,
    pub bulk_bytes_max: usize,
    pub query_buffer_bytes_max: usize,
    /// Normal, replica, pub/sub.
    pub output_limits: [BufferLimit; 3],
    pub busy_reply_threshold: Duration,
    pub notify_events: String,
    pub shutdown_timeout: Duration,
    pub shutdown_on_sigint: ShutdownFlags,
    pub shutdown_on_sigterm: ShutdownFlags,
    /// Calls from this time on are kept in the slow log.
    pub slow_from: Option<Duration>,
    pub slow_calls_max: usize,
    /// Events from this time on are latency spikes.
    pub spike_from: Option<Duration>,
    pub latency_tracking: bool,
    /// Of INFO latencystats.
    pub latency_percentiles: Vec<f64>,
    /// Where collections change their encoding; without a hash seed.
    pub limits: Limits,
    pub memory: MemoryLimit,
    /// What access clocks hold under the eviction policy.
    pub access_policy: AccessPolicy,
}

impl Settings {
    /// Resolves the values; relative paths start at `working_directory` (`dir`) or at `dir` (the others).
    pub fn resolve(config: &Config, working_directory: &Path) -> Self {
        let dir = working_directory.join(path(&text(config, "dir")));
        let path_in_dir = |name: &str| Some(text(config, name)).filter(|t| !t.is_empty()).map(|t| dir.join(path(&t)));
        Self {
            bind: bind_addresses(config),
            port: int(config, "port") as u16,
            tcp_backlog: int(config, "tcp-backlog") as i32,
            socket_mark: int(config, "socket-mark-id") as u32,
            tcp_keepalive: seconds(int(config, "tcp-keepalive")),
            unixsocket: path_in_dir("unixsocket"),
            unixsocket_mode: match config.value("unixsocketperm") {
                Value::Octal(mode) if *mode != 0 => Some(*mode),
                _ => None,
            },
            unixsocket_group: lossy(config, "unixsocketgroup"),
            accepts_per_turn: size(int(config, "max-new-connections-per-cycle")),
            idle_timeout: seconds(int(config, "timeout")),
            protected_mode: flag(config, "protected-mode"),
            debug_command: locality(choice(config, "enable-debug-command")),
            module_command: locality(choice(config, "enable-module-command")),
            maxclients: size(int(config, "maxclients")),
            io_threads: size(int(config, "io-threads")),
            daemonize: flag(config, "daemonize"),
            pidfile: path_in_dir("pidfile"),
            logfile: path_in_dir("logfile"),
            loglevel: match choice(config, "loglevel") {
                "debug" => LogLevel::Debug,
                "verbose" => LogLevel::Verbose,
                "warning" => LogLevel::Warning,
                _ => LogLevel::Notice,
            },
            log_form: LogForm {
                logfmt: choice(config, "log-format") == "logfmt",
                stamps: match choice(config, "log-timestamp-format") {
                    "iso8601" => Stamps::Iso8601,
                    "milliseconds" => Stamps::Milliseconds,
                    _ => Stamps::Legacy,
                },
            },
            syslog: flag(config, "syslog-enabled")
                .then(|| Syslog { ident: text(config, "syslog-ident"), facility: choice(config, "syslog-facility") }),
            sets_title: flag(config, "set-proc-title"),
            title_template: lossy(config, "proc-title-template"),
            collation: lossy(config, "locale-collate"),
            cpus: CpuLists {
                serving: lossy(config, "server_cpulist"),
                aside: lossy(config, "bio_cpulist"),
                rewriting: lossy(config, "aof_rewrite_cpulist"),
                saving: lossy(config, "bgsave_cpulist"),
            },
            purges_aside: flag(config, "jemalloc-bg-thread"),
            show_logo: flag(config, "always-show-logo"),
            supervised: choice(config, "supervised"),
            disable_huge_pages: flag(config, "disable-thp"),
            oom_score: oom_score(config),
            availability_zone: lossy(config, "availability-zone"),
            databases: int(config, "databases") as u32,
            password: text(config, "requirepass"),
            acl_filename: lossy(config, "aclfile"),
            client_bytes_max: match config.value("maxmemory-clients") {
                Value::Percent(percent) => bytes(config, "maxmemory") / 100 * percent,
                Value::Bytes(bytes) => *bytes,
                _ => 0,
            },
            acl_all_channels: choice(config, "acl-pubsub-default") == "allchannels",
            acl_log_len_max: size(int(config, "acllog-max-len")),
            tracking_keys_max: size(int(config, "tracking-table-max-keys")),
            appendonly: flag(config, "appendonly"),
            appendfsync: choice(config, "appendfsync"),
            append_filename: lossy(config, "appendfilename"),
            append_dirname: lossy(config, "appenddirname"),
            dump_filename: lossy(config, "dbfilename"),
            rdb_compression: flag(config, "rdbcompression"),
            rdb_checksum: flag(config, "rdbchecksum"),
            rdb_version: int(config, "rdb-version") as u16,
            rdb_sync: flag(config, "rdb-save-incremental-fsync"),
            snapshot_threads: snapshot_threads(int(config, "snapshot-threads")),
            snapshot_rate: (int(config, "snapshot-max-mb-per-sec") as u64).saturating_mul(1_000_000),
            snapshot_retained_max: bytes(config, "snapshot-max-retained"),
            emergency_reserve: bytes(config, "emergency-reserve"),
            snapshot_generations: size(int(config, "snapshot-generations")),
            defrag: DefragSettings {
                active: flag(config, "activedefrag"),
                ignore_bytes: bytes(config, "active-defrag-ignore-bytes"),
                lower: int(config, "active-defrag-threshold-lower") as u64,
                upper: int(config, "active-defrag-threshold-upper") as u64,
                cycle_min: int(config, "active-defrag-cycle-min") as u64,
                cycle_max: int(config, "active-defrag-cycle-max") as u64,
                elements_max: size(int(config, "active-defrag-max-scan-fields")),
            },
            saved_access: match choice(config, "maxmemory-policy") {
                policy if policy.ends_with("-lru") => SavedAccess::Idle,
                policy if policy.ends_with("-lfu") => SavedAccess::Frequency,
                _ => SavedAccess::Nothing,
            },
            save_points: match config.value("save") {
                Value::Save(points) => points.clone(),
                _ => Vec::new(),
            },
            stop_writes: flag(config, "stop-writes-on-bgsave-error"),
            aof_load_truncated: flag(config, "aof-load-truncated"),
            rewrite_percentage: int(config, "auto-aof-rewrite-percentage") as u64,
            rewrite_min_size: bytes(config, "auto-aof-rewrite-min-size"),
            rdb_preamble: flag(config, "aof-use-rdb-preamble"),
            rewrite_sync: flag(config, "aof-rewrite-incremental-fsync"),
            keep_superseded: flag(config, "aof-disable-auto-gc"),
            retain: Retain {
                time: seconds(int(config, "aof-retain-time")),
                bytes: Some(bytes(config, "aof-retain-size")).filter(|bytes| *bytes > 0),
            },
            archive_rate: (int(config, "archive-max-mb-per-sec") as u64).saturating_mul(1_000_000),
            scrub_period: seconds(int(config, "scrub-period")),
            scrub_rate: (int(config, "scrub-max-mb-per-sec") as u64).saturating_mul(1_000_000),
            segment_bytes_max: bytes(config, "aof-segment-size"),
            unsynced_bytes_max: bytes(config, "aof-unsynced-bytes-max"),
            log_timestamps: flag(config, "aof-timestamp-enabled"),
            preallocate: flag(config, "aof-preallocate"),
            align: choice(config, "aof-align").parse().unwrap_or(0),
            bulk_bytes_max: bytes(config, "proto-max-bulk-len") as usize,
            query_buffer_bytes_max: bytes(config, "client-query-buffer-limit") as usize,
            output_limits: match config.value("client-output-buffer-limit") {
                Value::BufferLimits(limits) => *limits,
                _ => Default::default(),
            },
            busy_reply_threshold: Duration::from_millis(int(config, "busy-reply-threshold") as u64),
            notify_events: match config.value("notify-keyspace-events") {
                Value::Events(classes) => classes.clone(),
                _ => String::new(),
            },
            shutdown_timeout: Duration::from_secs(int(config, "shutdown-timeout") as u64),
            shutdown_on_sigint: shutdown_flags(config, "shutdown-on-sigint"),
            shutdown_on_sigterm: shutdown_flags(config, "shutdown-on-sigterm"),
            slow_from: u64::try_from(int(config, "slowlog-log-slower-than")).ok().map(Duration::from_micros),
            slow_calls_max: size(int(config, "slowlog-max-len")),
            spike_from: match int(config, "latency-monitor-threshold") {
                0 => None,
                millis => Some(Duration::from_millis(millis as u64)),
            },
            latency_tracking: flag(config, "latency-tracking"),
            latency_percentiles: match config.value("latency-tracking-info-percentiles") {
                Value::Percentiles(percentiles) => percentiles.clone(),
                _ => Vec::new(),
            },
            limits: limits(config),
            memory: memory_limit(config),
            access_policy: access_policy(config),
            dir,
        }
    }

    /// Where the manifest of the append-only file is.
    pub fn manifest_path(&self) -> PathBuf {
        self.dir.join(&self.append_dirname).join(format!("{}.manifest", self.append_filename))
    }

    /// Where a save goes.
    pub fn dump_path(&self) -> PathBuf {
        self.dir.join(&self.dump_filename)
    }

    /// Where the ACL file is.
    pub fn acl_path(&self) -> PathBuf {
        self.dir.join(&self.acl_filename)
    }
}

/// Threads that write a snapshot: what was asked for, or what the processors suffice for.
fn snapshot_threads(asked: i64) -> usize {
    const MOST: usize = 4;
    match size(asked) {
        0 => std::thread::available_parallelism().map_or(1, usize::from).min(MOST),
        asked => asked,
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        hash_max_listpack_entries: size(int(config, "hash-max-listpack-entries")),
        hash_max_listpack_value: bytes(config, "hash-max-listpack-value") as usize,
        set_max_intset_entries: size(int(config, "set-max-intset-entries")),
        set_max_listpack_entries: size(int(config, "set-max-listpack-entries")),
        set_max_listpack_value: bytes(config, "set-max-listpack-value") as usize,
        zset_max_listpack_entries: size(int(config, "zset-max-listpack-entries")),
        zset_max_listpack_value: bytes(config, "zset-max-listpack-value") as usize,
        hll_sparse_max_bytes: bytes(config, "hll-sparse-max-bytes") as usize,
        list_max_listpack_size: int(config, "list-max-listpack-size"),
        list_compress_depth: size(int(config, "list-compress-depth")),
        stream_node_max_bytes: bytes(config, "stream-node-max-bytes") as usize,
        stream_node_max_entries: size(int(config, "stream-node-max-entries")),
        ..Limits::default()
    }
}

fn memory_limit(config: &Config) -> MemoryLimit {
    MemoryLimit {
        max: bytes(config, "maxmemory"),
        policy: EvictionPolicy::from_name(choice(config, "maxmemory-policy")),
        samples: size(int(config, "maxmemory-samples")),
        tenacity: int(config, "maxmemory-eviction-tenacity") as u32,
    }
}

fn oom_score(config: &Config) -> OomScore {
    // The first of the three is that of a primary without a child at work.
    let Value::OomScores([score, ..]) = *config.value("oom-score-adj-values") else { return OomScore::Unchanged };
    match choice(config, "oom-score-adj") {
        "no" => OomScore::Unchanged,
        "absolute" => OomScore::Absolute(score),
        _ => OomScore::Relative(score),
    }
}

fn access_policy(config: &Config) -> AccessPolicy {
    match EvictionPolicy::from_name(choice(config, "maxmemory-policy")) {
        Some(EvictionPolicy { order: EvictionOrder::Lfu, .. }) => AccessPolicy::Lfu {
            log_factor: int(config, "lfu-log-factor") as u32,
            decay_minutes: int(config, "lfu-decay-time") as u32,
        },
        _ => AccessPolicy::Lru,
    }
}

fn bind_addresses(config: &Config) -> Vec<BindAddress> {
    let Value::Words(words) = config.value("bind") else { return Vec::new() };
    let address = |word: &Vec<u8>| {
        let word = String::from_utf8_lossy(word).into_owned();
        match word.strip_prefix('-') {
            Some(host) => BindAddress { host: host.to_owned(), optional: true },
            None => BindAddress { host: word, optional: false },
        }
    };
    words.iter().filter(|word| !word.is_empty()).map(address).collect()
}

fn locality(word: &str) -> Locality {
    match word {
        "yes" => Locality::Everybody,
        "local" => Locality::LocalConnections,
        _ => Locality::Nobody,
    }
}

fn shutdown_flags(config: &Config, name: &str) -> ShutdownFlags {
    let Value::Flags(words) = config.value(name) else { return ShutdownFlags::default() };
    ShutdownFlags {
        save: words.contains(&"save"),
        nosave: words.contains(&"nosave"),
        now: words.contains(&"now"),
        force: words.contains(&"force"),
    }
}

fn int(config: &Config, name: &str) -> i64 {
    match config.value(name) {
        Value::Int(value) => *value,
        other => panic!("{name} is no integer: {other:?}"),
    }
}

fn bytes(config: &Config, name: &str) -> u64 {
    match config.value(name) {
        Value::Bytes(value) => *value,
        other => panic!("{name} is no size: {other:?}"),
    }
}

fn flag(config: &Config, name: &str) -> bool {
    *config.value(name) == Value::Bool(true)
}

fn choice(config: &Config, name: &str) -> &'static str {
    match config.value(name) {
        Value::Choice(word) => word,
        other => panic!("{name} is no choice: {other:?}"),
    }
}

fn text(config: &Config, name: &str) -> Vec<u8> {
    match config.value(name) {
        Value::Text(text) => text.clone(),
        other => panic!("{name} is no text: {other:?}"),
    }
}

fn lossy(config: &Config, name: &str) -> String {
    String::from_utf8_lossy(&text(config, name)).into_owned()
}

fn path(text: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(text.to_vec()))
}

fn seconds(value: i64) -> Option<Duration> {
    u64::try_from(value).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

fn size(value: i64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
