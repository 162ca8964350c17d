//! Every directive, in the order of stock's own redis.conf; our own stand at the end.

use super::directive::{Directive, Kind};

const INT_MAX: i64 = i32::MAX as i64;
const INT_MIN: i64 = i32::MIN as i64;
const UINT_MAX: i64 = u32::MAX as i64;
const MIB: u64 = 1 << 20;
const LONG_MAX: u64 = i64::MAX as u64;

const fn yes_no(name: &'static str, default: &'static str) -> Directive {
    Directive::new(name, Kind::Bool, default)
}

const fn int(name: &'static str, min: i64, max: i64, default: &'static str) -> Directive {
    Directive::new(name, Kind::Int { min, max }, default)
}

const fn memory(name: &'static str, min: u64, max: u64, default: &'static str) -> Directive {
    Directive::new(name, Kind::Memory { min, max }, default)
}

const fn choice(name: &'static str, words: &'static [&'static str], default: &'static str) -> Directive {
    Directive::new(name, Kind::Choice(words), default)
}

const fn text(name: &'static str, default: &'static str) -> Directive {
    Directive::new(name, Kind::Text, default)
}

const LOCALITY: &[&str] = &["no", "yes", "local"];
const SHUTDOWN: &[&str] = &["default", "save", "nosave", "now", "force"];
const FACILITIES: &[&str] = &["user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"];
const POLICIES: &[&str] = &[
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "noeviction",
];

/// All directives.
pub static DIRECTIVES: &[Directive] = &[
    // Network
    Directive::new("bind", Kind::Words, "* -::*").own("127.0.0.1"),
    text("bind-source-addr", "").later(),
    yes_no("protected-mode", "yes"),
    choice("enable-protected-configs", LOCALITY, "no").fixed(),
    choice("enable-debug-command", LOCALITY, "no").fixed(),
    choice("enable-module-command", LOCALITY, "no").fixed(),
    int("port", 0, 65535, "6379"),
    int("tcp-backlog", 0, INT_MAX, "511").fixed(),
    text("unixsocket", "").fixed(),
    text("unixsocketgroup", "").fixed(),
    Directive::new("unixsocketperm", Kind::Octal { max: 0o777 }, "0").fixed(),
    int("timeout", 0, INT_MAX, "0"),
    int("tcp-keepalive", 0, INT_MAX, "300"),
    int("socket-mark-id", 0, UINT_MAX, "0").fixed(),
    int("max-new-connections-per-cycle", 1, 1000, "10"),
    // There is no TLS.
    int("max-new-tls-connections-per-cycle", 1, 1000, "1").moot(),
    // TLS
    int("tls-port", 0, 65535, "0").stops(),
    text("tls-cert-file", "").later(),
    text("tls-key-file", "").later(),
    text("tls-key-file-pass", "").later(),
    text("tls-client-cert-file", "").later(),
    text("tls-client-key-file", "").later(),
    text("tls-client-key-file-pass", "").later(),
    text("tls-dh-params-file", "").later(),
    text("tls-ca-cert-file", "").later(),
    text("tls-ca-cert-dir", "").later(),
    choice("tls-auth-clients", &["no", "yes", "optional"], "yes").later(),
    yes_no("tls-replication", "no").later(),
    yes_no("tls-cluster", "no").later(),
    text("tls-protocols", "").later(),
    text("tls-ciphers", "").later(),
    text("tls-ciphersuites", "").later(),
    yes_no("tls-prefer-server-ciphers", "no").later(),
    yes_no("tls-session-caching", "yes").later(),
    int("tls-session-cache-size", 0, INT_MAX, "20480").later(),
    int("tls-session-cache-timeout", 0, INT_MAX, "300").later(),
    // General
    yes_no("daemonize", "no").fixed(),
    choice("supervised", &["upstart", "systemd", "auto", "no"], "no").fixed(),
    text("pidfile", "").fixed(),
    choice("loglevel", &["debug", "verbose", "notice", "warning"], "notice"),
    choice("log-format", &["legacy", "logfmt"], "legacy"),
    choice("log-timestamp-format", &["legacy", "iso8601", "milliseconds"], "legacy"),
    text("logfile", "").fixed(),
    yes_no("syslog-enabled", "no").fixed(),
    text("syslog-ident", "redis").fixed(),
    choice("syslog-facility", FACILITIES, "local0").fixed(),
    // A crash is one line of the log and a backtrace: there is no report to be left out, and memory is not tried.
    yes_no("crash-log-enabled", "yes").moot(),
    yes_no("crash-memcheck-enabled", "yes").fixed().moot(),
    int("databases", 1, INT_MAX, "16").fixed(),
    yes_no("always-show-logo", "no").fixed(),
    // The log never shows what users store.
    yes_no("hide-user-data-from-log", "no").moot(),
    yes_no("set-proc-title", "yes").fixed(),
    Directive::new("proc-title-template", Kind::Title, "{title} {listen-addr} {server-mode}"),
    text("locale-collate", ""),
    text("availability-zone", ""),
    // Names and versions are those of Redis in any case.
    yes_no("extended-redis-compatibility", "no").moot(),
    // Snapshots
    Directive::new("save", Kind::Save, "3600 1 300 100 60 10000").own(""),
    yes_no("stop-writes-on-bgsave-error", "yes"),
    yes_no("rdbcompression", "yes"),
    yes_no("rdbchecksum", "yes").fixed(),
    // Every payload is checked, whatever this says: what is not checked could not be read safely.
    choice("sanitize-dump-payload", &["no", "yes", "clients"], "no"),
    Directive::new("dbfilename", Kind::FileName, "dump.rdb").protected(),
    // Of replication.
    yes_no("rdb-del-sync-files", "no").moot(),
    Directive::new("dir", Kind::Directory, ".").own("graven-data").protected(),
    // Replication
    Directive::new("replicaof", Kind::Endpoint, "").alias("slaveof").fixed().stops(),
    text("masterauth", "").alias("primaryauth").later(),
    text("masteruser", "").alias("primaryuser").later(),
    yes_no("replica-serve-stale-data", "yes").alias("slave-serve-stale-data").later(),
    yes_no("replica-read-only", "yes").alias("slave-read-only").later(),
    yes_no("repl-diskless-sync", "yes").later(),
    int("repl-diskless-sync-delay", 0, INT_MAX, "5").later(),
    int("repl-diskless-sync-max-replicas", 0, INT_MAX, "0").later(),
    choice("repl-diskless-load", &["disabled", "on-empty-db", "swapdb"], "disabled").later(),
    yes_no("dual-channel-replication-enabled", "no").later(),
    int("repl-ping-replica-period", 1, INT_MAX, "10").alias("repl-ping-slave-period").later(),
    int("repl-timeout", 1, INT_MAX, "60").later(),
    yes_no("repl-disable-tcp-nodelay", "no").later(),
    memory("repl-backlog-size", 1, LONG_MAX, "1mb").later(),
    int("repl-backlog-ttl", 0, i64::MAX, "3600").later(),
    int("replica-priority", 0, INT_MAX, "100").alias("slave-priority").later(),
    choice("propagation-error-behavior", &["ignore", "panic", "panic-on-replicas"], "ignore").later(),
    yes_no("replica-ignore-disk-write-errors", "no").later(),
    yes_no("replica-announced", "yes").later(),
    int("min-replicas-to-write", 0, INT_MAX, "0").alias("min-slaves-to-write").stops(),
    int("min-replicas-max-lag", 0, INT_MAX, "10").alias("min-slaves-max-lag").later(),
    text("replica-announce-ip", "").alias("slave-announce-ip").later(),
    int("replica-announce-port", 0, 65535, "0").alias("slave-announce-port").later(),
    int("tracking-table-max-keys", 0, i64::MAX, "1000000"),
    // Security
    int("acllog-max-len", 0, i64::MAX, "128"),
    text("aclfile", "").fixed(),
    text("requirepass", ""),
    choice("acl-pubsub-default", &["allchannels", "resetchannels"], "resetchannels"),
    // Clients and memory
    int("maxclients", 1, UINT_MAX, "10000"),
    memory("maxmemory", 0, u64::MAX, "0"),
    choice("maxmemory-policy", POLICIES, "noeviction"),
    int("maxmemory-samples", 1, INT_MAX, "5"),
    int("maxmemory-eviction-tenacity", 0, 100, "10"),
    yes_no("replica-ignore-maxmemory", "yes").alias("slave-ignore-maxmemory").later(),
    // Keys go at their deadline, whatever the effort; what is big is always freed aside.
    int("active-expire-effort", 1, 10, "1").moot(),
    yes_no("lazyfree-lazy-eviction", "no").moot(),
    yes_no("lazyfree-lazy-expire", "no").moot(),
    yes_no("lazyfree-lazy-server-del", "no").moot(),
    yes_no("replica-lazy-flush", "no").alias("slave-lazy-flush").moot(),
    yes_no("lazyfree-lazy-user-del", "no").moot(),
    yes_no("lazyfree-lazy-user-flush", "no").moot(),
    int("io-threads", 1, 128, "1").fixed(),
    // Each io thread reads, executes and writes; what a batch looks up is always fetched ahead.
    yes_no("io-threads-do-reads", "no").fixed().moot(),
    int("events-per-io-thread", 0, INT_MAX, "2").moot(),
    int("prefetch-batch-max-size", 0, 128, "16").moot(),
    // Kernel
    choice("oom-score-adj", &["no", "yes", "relative", "absolute"], "no"),
    Directive::new("oom-score-adj-values", Kind::OomScores, "0 200 800"),
    yes_no("disable-thp", "yes").fixed(),
    // The append-only file
    yes_no("appendonly", "no").own("yes"),
    Directive::new("appendfilename", Kind::FileName, "appendonly.aof").fixed(),
    Directive::new("appenddirname", Kind::FileName, "appendonlydir").fixed(),
    choice("appendfsync", &["everysec", "always", "no"], "everysec").own("always"),
    // A sync beside a rewrite keeps no write waiting: there is nothing to buy with safety.
    yes_no("no-appendfsync-on-rewrite", "no").moot(),
    int("auto-aof-rewrite-percentage", 0, INT_MAX, "100"),
    memory("auto-aof-rewrite-min-size", 0, LONG_MAX, "64mb"),
    yes_no("aof-load-truncated", "yes"),
    yes_no("aof-use-rdb-preamble", "yes"),
    yes_no("aof-timestamp-enabled", "no"),
    yes_no("aof-disable-auto-gc", "no"),
    // Shutdown
    int("shutdown-timeout", 0, INT_MAX, "10"),
    Directive::new("shutdown-on-sigint", Kind::Flags(SHUTDOWN), "default"),
    Directive::new("shutdown-on-sigterm", Kind::Flags(SHUTDOWN), "default"),
    int("busy-reply-threshold", 0, i64::MAX, "5000").alias("lua-time-limit"),
    // Cluster
    yes_no("cluster-enabled", "no").fixed().stops(),
    text("cluster-config-file", "nodes.conf").fixed().later(),
    int("cluster-node-timeout", 0, i64::MAX, "15000").later(),
    int("cluster-port", 0, 65535, "0").fixed().later(),
    int("cluster-replica-validity-factor", 0, INT_MAX, "10").alias("cluster-slave-validity-factor").later(),
    int("cluster-migration-barrier", 0, INT_MAX, "1").later(),
    yes_no("cluster-allow-replica-migration", "yes").later(),
    yes_no("cluster-require-full-coverage", "yes").later(),
    yes_no("cluster-replica-no-failover", "no").alias("cluster-slave-no-failover").later(),
    yes_no("cluster-allow-reads-when-down", "no").later(),
    yes_no("cluster-allow-pubsubshard-when-down", "yes").later(),
    memory("cluster-link-sendbuf-limit", 0, u64::MAX, "0").later(),
    int("cluster-blacklist-ttl", 0, UINT_MAX, "60").later(),
    yes_no("cluster-slot-stats-enabled", "no").later(),
    Directive::new("cluster-announce-hostname", Kind::Hostname, "").later(),
    Directive::new("cluster-announce-human-nodename", Kind::Hostname, "").later(),
    choice("cluster-preferred-endpoint-type", &["ip", "hostname", "unknown-endpoint"], "ip").later(),
    text("cluster-announce-ip", "").later(),
    text("cluster-announce-client-ipv4", "").later(),
    text("cluster-announce-client-ipv6", "").later(),
    int("cluster-announce-port", 0, 65535, "0").later(),
    int("cluster-announce-tls-port", 0, 65535, "0").later(),
    int("cluster-announce-bus-port", 0, 65535, "0").later(),
    // Slow log, latency, events
    int("slowlog-log-slower-than", -1, i64::MAX, "10000"),
    int("slowlog-max-len", 0, i64::MAX, "128"),
    int("latency-monitor-threshold", 0, i64::MAX, "0"),
    yes_no("latency-tracking", "yes"),
    Directive::new("latency-tracking-info-percentiles", Kind::Percentiles, "50 99 99.9"),
    Directive::new("notify-keyspace-events", Kind::Events, ""),
    // Encodings
    int("hash-max-listpack-entries", 0, i64::MAX, "512").alias("hash-max-ziplist-entries"),
    memory("hash-max-listpack-value", 0, LONG_MAX, "64").alias("hash-max-ziplist-value"),
    int("list-max-listpack-size", INT_MIN, INT_MAX, "-2").alias("list-max-ziplist-size"),
    int("list-compress-depth", 0, INT_MAX, "0"),
    int("set-max-intset-entries", 0, i64::MAX, "512"),
    int("set-max-listpack-entries", 0, i64::MAX, "128"),
    memory("set-max-listpack-value", 0, LONG_MAX, "64"),
    int("zset-max-listpack-entries", 0, i64::MAX, "128").alias("zset-max-ziplist-entries"),
    memory("zset-max-listpack-value", 0, LONG_MAX, "64").alias("zset-max-ziplist-value"),
    memory("hll-sparse-max-bytes", 0, LONG_MAX, "3000"),
    memory("stream-node-max-bytes", 0, LONG_MAX, "4096"),
    int("stream-node-max-entries", 0, i64::MAX, "100"),
    // The rest
    // Tables grow by one bucket at a time: nothing is left to be done aside.
    yes_no("activerehashing", "yes").moot(),
    Directive::new(
        "client-output-buffer-limit",
        Kind::BufferLimits,
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
    ),
    memory("client-query-buffer-limit", MIB, LONG_MAX, "1gb"),
    Directive::new("maxmemory-clients", Kind::MemoryOrPercent, "0"),
    memory("proto-max-bulk-len", MIB, LONG_MAX, "512mb"),
    // What has its time is done at its time; the rest comes ten times a second.
    int("hz", 0, INT_MAX, "10").moot(),
    yes_no("dynamic-hz", "yes").moot(),
    yes_no("aof-rewrite-incremental-fsync", "yes"),
    int("lfu-log-factor", 0, INT_MAX, "10"),
    int("lfu-decay-time", 0, INT_MAX, "1"),
    yes_no("rdb-save-incremental-fsync", "yes"),
    yes_no("activedefrag", "no"),
    memory("active-defrag-ignore-bytes", 1, LONG_MAX, "100mb"),
    int("active-defrag-threshold-lower", 0, 1000, "10"),
    int("active-defrag-threshold-upper", 0, 1000, "100"),
    int("active-defrag-cycle-min", 1, 99, "1"),
    int("active-defrag-cycle-max", 1, 99, "25"),
    int("active-defrag-max-scan-fields", 1, i64::MAX, "1000"),
    yes_no("jemalloc-bg-thread", "yes"),
    text("server_cpulist", "").alias("server-cpulist").fixed(),
    text("bio_cpulist", "").alias("bio-cpulist").fixed(),
    text("aof_rewrite_cpulist", "").alias("aof-rewrite-cpulist").fixed(),
    text("bgsave_cpulist", "").alias("bgsave-cpulist").fixed(),
    // The one warning it names is about forks.
    text("ignore-warnings", "").moot(),
    // Our own
    memory("aof-segment-size", MIB, LONG_MAX, "256mb"),
    yes_no("aof-preallocate", "no"),
    choice("aof-align", &["0", "512", "4096"], "0"),
    memory("aof-unsynced-bytes-max", 0, LONG_MAX, "64mb"),
    int("aof-retain-time", 0, INT_MAX, "0"),
    memory("aof-retain-size", 0, LONG_MAX, "0"),
    int("archive-max-mb-per-sec", 0, INT_MAX, "64"),
    int("scrub-period", 0, INT_MAX, "604800"),
    int("scrub-max-mb-per-sec", 0, INT_MAX, "16"),
    int("rdb-version", 10, 11, "10"),
    memory("snapshot-max-retained", 0, LONG_MAX, "0"),
    int("snapshot-max-mb-per-sec", 0, INT_MAX, "0"),
    int("snapshot-threads", 0, 64, "0"),
    int("snapshot-generations", 1, INT_MAX, "1"),
    memory("emergency-reserve", 0, LONG_MAX, "0"),
];

/// Names of older versions that are read and ignored, with one value.
pub static RETIRED: &[&str] = &["list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands"];
