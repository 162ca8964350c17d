//! INFO: every section that stock has, with the values that are true here.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::host::Supervisor;
use super::keeping::Archived;
use super::memory::{cpu_seconds, human, resident_bytes, system_bytes};
use super::state::Server;
use super::{GRAVEN_VERSION, REDIS_VERSION};
use crate::command::{CommandError, Cx};
use crate::engine::{Client, Held, Parts};
use crate::keyspace::Database;

/// Which sections are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sections {
    names: Vec<String>,
    /// `all` or `everything`.
    all: bool,
    /// Those shown when nothing is named.
    default: bool,
}

/// Sections shown only when they, or all, are named.
const EXTRA: [&str; 2] = ["commandstats", "latencystats"];

impl Sections {
    pub fn parse(words: &[&[u8]]) -> Self {
        let names: Vec<String> = words.iter().map(|word| String::from_utf8_lossy(word).to_lowercase()).collect();
        let named = |name: &str| names.iter().any(|word| word == name);
        Self { all: named("all") || named("everything"), default: names.is_empty() || named("default"), names }
    }

    fn wants(&self, section: &str) -> bool {
        self.all || self.names.iter().any(|name| name == section) || (self.default && !EXTRA.contains(&section))
    }
}

/// The text of the sections.
///
/// # Errors
/// The engine runs without a server.
pub fn text(cx: &mut Cx<'_>, sections: &Sections) -> Result<String, CommandError> {
    type Section = fn(&mut Cx<'_>, &mut String) -> Result<(), CommandError>;
    const ALL: [(&str, &str, Section); 13] = [
        ("server", "Server", server),
        ("clients", "Clients", clients),
        ("memory", "Memory", memory),
        ("persistence", "Persistence", persistence),
        ("stats", "Stats", stats),
        ("replication", "Replication", replication),
        ("cpu", "CPU", cpu),
        ("modules", "Modules", |_, _| Ok(())),
        ("commandstats", "Commandstats", command_stats),
        ("errorstats", "Errorstats", error_stats),
        ("latencystats", "Latencystats", latency_stats),
        ("cluster", "Cluster", |_, out| {
            line(out, "cluster_enabled", 0);
            Ok(())
        }),
        ("keyspace", "Keyspace", keyspace),
    ];
    let mut out = String::new();
    for (name, title, write) in ALL {
        if sections.wants(name) {
            if !out.is_empty() {
                out.push_str("\r\n");
            }
            let _ = write!(out, "# {title}\r\n");
            write(cx, &mut out)?;
        }
    }
    Ok(out)
}

fn line(out: &mut String, name: &str, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{name}:{value}\r\n");
}

fn lines(out: &mut String, fields: &[(&str, &dyn std::fmt::Display)]) {
    for (name, value) in fields {
        line(out, name, value);
    }
}

fn server(cx: &mut Cx<'_>, out: &mut String) -> Result<(), CommandError> {
    let clock = Parts::of(cx).clock.clone();
    let server = Server::of(cx)?;
    let settings = server.shared()?.settings();
    let uptime = clock.monotonic().saturating_sub(server.started).as_secs();
    let file = server.config_file.as_ref().map_or(String::new(), |path| path.display().to_string());
    let hz = String::from_utf8_lossy(&server.config.value("hz").render()).into_owned();
    lines(
        out,
        &[
            ("redis_version", &REDIS_VERSION),
            ("server_name", &"graven"),
            ("graven_version", &GRAVEN_VERSION),
            ("redis_git_sha1", &"00000000"),
            ("redis_git_dirty", &0),
            ("redis_build_id", &"0"),
            ("redis_mode", &"standalone"),
            ("os", &os()),
            ("arch_bits", &usize::BITS),
            ("monotonic_clock", &"POSIX clock_gettime"),
            ("multiplexing_api", &"epoll"),
            ("atomicvar_api", &"c11-builtin"),
            ("gcc_version", &"0.0.0"),
            ("process_id", &std::process::id()),
            ("process_supervised", &Supervisor::of(settings.supervised).name()),
            ("run_id", &server.run_id),
            ("tcp_port", &settings.port),
            ("server_time_usec", &clock.unix_micros()),
            ("uptime_in_seconds", &uptime),
            ("uptime_in_days", &(uptime / 86_400)),
            ("hz", &hz),
            ("configured_hz", &hz),
            ("lru_clock", &((clock.unix_millis().0 / 1000) & 0xff_ffff)),
            ("executable", &server.executable.display()),
            ("config_file", &file),
            ("availability_zone", &settings.availability_zone),
            ("io_threads_active", &u8::from(settings.io_threads > 1)),
        ],
    );
    Ok(())
}

fn os() -> String {
    match nix::sys::utsname::uname() {
        Ok(name) => format!(
            "{} {} {}",
            name.sysname().to_string_lossy(),
            name.release().to_string_lossy(),
            name.machine().to_string_lossy()
        ),
        Err(_) => std::env::consts::OS.to_owned(),
    }
}

fn clients(cx: &mut Cx<'_>, out: &mut String) -> Result<(), CommandError> {
    let settings = Server::of(cx)?.shared()?.settings();
    let parts = Parts::of(cx);
    let largest =
        |of: fn(Held) -> usize| parts.clients.iter().map(|client| of(client.outbox.meter.read())).max().unwrap_or(0);
    lines(
        out,
        &[
            ("connected_clients", &parts.clients.len()),
            ("cluster_connections", &0),
            ("maxclients", &settings.maxclients),
            ("client_recent_max_input_buffer", &largest(|held| held.query + held.query_free + held.requests)),
            (
                "client_recent_max_output_buffer",
                &parts.clients.iter().map(|c| c.outbox.len() + c.outbox.meter.read().unsent).max().unwrap_or(0),
            ),
            ("blocked_clients", &(parts.blocking.len() + parts.pause.waiting())),
            ("tracking_clients", &parts.tracking.client_count()),
            ("pubsub_clients", &parts.clients.iter().filter(|c| c.is_subscriber()).count()),
            ("watching_clients", &parts.clients.iter().filter(|c| !c.watches.is_empty()).count()),
            ("clients_in_timeout_table", &parts.blocking.deadline_count()),
            ("total_watched_keys", &parts.watches.len()),
            ("total_blocking_keys", &parts.blocking.key_count()),
        ],
    );
    Ok(())
}

fn memory(cx: &mut Cx<'_>, out: &mut String) -> Result<(), CommandError> {
    let server = Server::of(cx)?;
    let resident = resident_bytes();
    let gauge = Arc::clone(&server.shared()?.gauge);
    let defragging = server.shared()?.defrag.effort();
    let allocator = gauge.figures();
    let used = allocator.in_use();
    let (peak, startup) = (gauge.peak(), server.startup_memory);
    let policy = String::from_utf8_lossy(&server.config.value("maxmemory-policy").render()).into_owned();
    let index: usize = cx.store.databases().iter().map(Database::overhead_bytes).sum();
    let waiting = cx.store.garbage_len();
    let (doomed, freed) = gauge.reaped();
    let parts = Parts::of(cx);
    let limit = parts.settings.memory.max as usize;
    let log = gauge.log_bytes() as usize;
    let normal: usize = parts.clients.iter().map(Client::memory_bytes).sum();
    let scripts = parts.scripts.memory();
    let interpreters = scripts.scripts_vm + scripts.functions_vm;
    let texts = scripts.scripts + scripts.functions;
    let overhead = startup.saturating_add(normal + log + index + texts).min(used);
    let dataset = used - overhead;
    let percent = |part: usize, whole: usize| format!("{:.2}%", part as f64 * 100.0 / whole.max(1) as f64);
    let ratio = |part: usize, whole: usize| format!("{:.2}", part as f64 / whole.max(1) as f64);
    let difference = |a: usize, b: usize| a as i64 - b as i64;
    lines(
        out,
        &[
            ("used_memory", &used),
            ("used_memory_human", &human(used)),
            ("used_memory_rss", &resident),
            ("used_memory_rss_human", &human(resident)),
            ("used_memory_peak", &peak),
            ("used_memory_peak_human", &human(peak)),
            ("used_memory_peak_perc", &percent(used, peak)),
            ("used_memory_overhead", &overhead),
            ("used_memory_startup", &startup),
            ("used_memory_dataset", &dataset),
            ("used_memory_dataset_perc", &percent(dataset, used.saturating_sub(startup))),
            ("allocator_allocated", &allocator.allocated),
            ("allocator_active", &allocator.active),
            ("allocator_resident", &allocator.resident),
            ("total_system_memory", &system_bytes()),
            ("total_system_memory_human", &human(system_bytes())),
            ("used_memory_lua", &scripts.scripts_vm),
            ("used_memory_vm_eval", &scripts.scripts_vm),
            ("used_memory_lua_human", &human(scripts.scripts_vm)),
            ("used_memory_scripts_eval", &scripts.scripts),
            ("number_of_cached_scripts", &scripts.cached_scripts),
            ("number_of_functions", &scripts.function_count),
            ("number_of_libraries", &scripts.library_count),
            ("used_memory_vm_functions", &scripts.functions_vm),
            ("used_memory_vm_total", &interpreters),
            ("used_memory_vm_total_human", &human(interpreters)),
            ("used_memory_functions", &scripts.functions),
            ("used_memory_scripts", &texts),
            ("used_memory_scripts_human", &human(texts)),
            ("maxmemory", &limit),
            ("maxmemory_human", &human(limit)),
            ("maxmemory_policy", &policy),
            ("allocator_frag_ratio", &ratio(allocator.active, allocator.allocated)),
            ("allocator_frag_bytes", &difference(allocator.active, allocator.allocated)),
            ("allocator_rss_ratio", &ratio(allocator.resident, allocator.active)),
            ("allocator_rss_bytes", &difference(allocator.resident, allocator.active)),
            ("rss_overhead_ratio", &ratio(resident, allocator.resident)),
            ("rss_overhead_bytes", &difference(resident, allocator.resident)),
            ("mem_fragmentation_ratio", &ratio(resident, used)),
            ("mem_fragmentation_bytes", &difference(resident, used)),
            ("mem_not_counted_for_evict", &log),
            ("mem_replication_backlog", &0),
            ("mem_total_replication_buffers", &0),
            ("mem_clients_slaves", &0),
            ("mem_clients_normal", &normal),
            ("mem_cluster_links", &0),
            ("mem_aof_buffer", &log),
            ("mem_allocator", &if (Server::of(cx)?.allocator.figures)().is_some() { "jemalloc-5.3.1" } else { "libc" }),
            ("active_defrag_running", &defragging),
            ("lazyfree_pending_objects", &(waiting + doomed)),
            ("lazyfreed_objects", &freed),
        ],
    );
    Ok(())
}

fn persistence(cx: &mut Cx<'_>, out: &mut String) -> Result<(), CommandError> {
    let dirty = Parts::of(cx).stats.dirty;
    let server = Server::of(cx)?;
    let shared = server.shared()?;
    let saves = server.saving.figures(shared.clock.monotonic());
    let rewrites = server.rewriting.figures(shared.clock.monotonic());
    let retention = server.retention.figures(shared.clock.monotonic());
    let held_back = shared.brake.batches();
    let (keys, keys_total) =
        if saves.in_progress { (saves.keys, saves.keys_total) } else { (rewrites.keys, rewrites.keys_total) };
    let older = shared.older.lock().clone();
    let settings = shared.settings();
    let trouble = shared.founded_log().and_then(|log| log.progress.trouble());
    let in_trouble = trouble.is_some();
    let write_error = trouble.map(|trouble| trouble.to_string()).unwrap_or_default();
    let roll_error = shared.log().and_then(|log| log.progress.roll_trouble());
    let roll_error = roll_error.map(|trouble| trouble.to_string()).unwrap_or_default();
    let reserve = shared.reserve.figures();
    // Asked for, and begun as soon as the ticker comes to it.
    let begins =
        shared.founded_log().is_none() && (settings.appendonly && rewrites.failures == 0 || rewrites.scheduled);
    let again = shared.log().is_none() && settings.appendonly && rewrites.failures > 0;
    lines(
        out,
        &[
            ("loading", &u8::from(shared.loading.is_under_way())),
            ("async_loading", &0),
            ("current_cow_peak", &retention.peak),
            ("current_cow_size", &retention.size),
            ("current_cow_size_age", &retention.age),
            ("current_fork_perc", &format!("{:.2}", keys as f64 * 100.0 / keys_total.max(1) as f64)),
            ("current_save_keys_processed", &keys),
            ("current_save_keys_total", &keys_total),
            ("rdb_changes_since_last_save", &dirty),
            ("rdb_bgsave_in_progress", &u8::from(saves.in_progress)),
            ("rdb_last_save_time", &(saves.last_saved.0 / 1000)),
            ("rdb_last_bgsave_status", &if saves.last_error.is_none() { "ok" } else { "err" }),
            ("rdb_last_bgsave_error", &saves.last_error.as_deref().unwrap_or_default()),
            ("rdb_last_bgsave_time_sec", &saves.last_seconds),
            ("rdb_current_bgsave_time_sec", &saves.current_seconds),
            ("rdb_saves", &saves.saves),
            ("rdb_last_cow_size", &saves.last_retained),
            ("rdb_generations_kept", &older.generations.len()),
            ("rdb_generations_bytes", &older.generation_bytes),
            ("superseded_kept", &older.superseded.len()),
            ("rdb_last_load_keys_expired", &saves.loaded_expired),
            ("rdb_last_load_keys_loaded", &saves.loaded_keys),
            ("snapshot_batches_held_back", &held_back),
            ("aof_enabled", &u8::from(settings.appendonly)),
            ("aof_rewrite_in_progress", &u8::from(rewrites.in_progress || begins)),
            ("aof_rewrite_scheduled", &u8::from(rewrites.scheduled && !begins || again)),
            ("aof_last_rewrite_time_sec", &rewrites.last_seconds),
            ("aof_current_rewrite_time_sec", &rewrites.current_seconds),
            ("aof_last_bgrewrite_status", &if rewrites.last_error.is_none() { "ok" } else { "err" }),
            ("aof_last_bgrewrite_error", &rewrites.last_error.as_deref().unwrap_or_default()),
            ("aof_rewrites", &rewrites.rewrites),
            ("aof_rewrites_consecutive_failures", &rewrites.failures),
            ("aof_last_write_status", &if in_trouble { "err" } else { "ok" }),
            ("aof_last_write_error", &write_error),
            ("aof_last_roll_status", &if roll_error.is_empty() { "ok" } else { "err" }),
            ("aof_last_roll_error", &roll_error),
            ("emergency_reserve", &reserve.stage),
            ("emergency_reserve_bytes", &reserve.bytes),
            ("emergency_reserve_times_used", &reserve.times_used),
            ("aof_last_cow_size", &rewrites.last_retained),
            ("module_fork_in_progress", &0),
            ("module_fork_last_cow_size", &0),
        ],
    );
    if settings.appendonly {
        log_fields(&shared, rewrites.scheduled, out);
    }
    archive_fields(&shared, out);
    scrub_fields(&shared, out);
    if shared.loading.is_under_way() {
        shared.loading.describe(out);
    }
    Ok(())
}

/// What is kept of superseded files, and how far back a restore can go.
fn archive_fields(shared: &super::shared::Shared, out: &mut String) {
    let Archived { figures, busy, last_error } = shared.keeping.archived();
    let oldest = figures.oldest.map_or(String::new(), |lsn| lsn.to_string());
    let oldest_time = figures.oldest_time.map_or(String::new(), |time| (time.0 / 1000).to_string());
    lines(
        out,
        &[
            ("archive_enabled", &u8::from(shared.settings().retain.is_on())),
            ("archive_in_progress", &u8::from(busy)),
            ("archive_files", &figures.files),
            ("archive_bases", &figures.bases),
            ("archive_bytes", &figures.bytes),
            ("archive_pending_files", &figures.pending),
            ("archive_dropped_files", &figures.dropped),
            ("archive_oldest_lsn", &oldest),
            ("archive_oldest_time", &oldest_time),
            ("archive_last_status", &if last_error.is_none() { "ok" } else { "err" }),
            ("archive_last_error", &last_error.unwrap_or_default()),
        ],
    );
}

/// What the scrubber has read, and found.
fn scrub_fields(shared: &super::shared::Shared, out: &mut String) {
    let scrubbed = shared.keeping.scrubbed();
    let (ended, took) = scrubbed.last_pass.map_or((0, -1.0), |(at, took)| (at.0 / 1000, took.as_secs_f64()));
    let found = scrubbed.last_error.map_or(String::new(), |found| {
        format!("{} at offset {}: {}", found.path.display(), found.offset, found.reason)
    });
    lines(
        out,
        &[
            ("scrub_in_progress", &u8::from(scrubbed.busy)),
            ("scrub_files_left", &scrubbed.files_left),
            ("scrub_bytes_verified", &scrubbed.bytes),
            ("scrub_passes", &scrubbed.passes),
            ("scrub_last_pass_time", &ended),
            ("scrub_last_pass_seconds", &format!("{took:.3}")),
            ("scrub_errors", &scrubbed.errors),
            ("scrub_last_error", &found),
        ],
    );
}

/// Fields that stock shows while the append-only file is on, and our own about the log.
fn log_fields(shared: &super::shared::Shared, scheduled: bool, out: &mut String) {
    let Some(log) = shared.log() else { return };
    let (progress, stats) = (&log.progress, &log.progress.stats);
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let micros_per_sync = count(&stats.sync_micros) / count(&stats.syncs).max(1);
    lines(
        out,
        &[
            ("aof_current_size", &count(&stats.size)),
            ("aof_base_size", &count(&stats.base_size)),
            ("aof_pending_rewrite", &u8::from(scheduled)),
            ("aof_buffer_length", &(progress.appended().0 - progress.written().0)),
            ("aof_pending_bio_fsync", &count(&stats.syncs_pending)),
            ("aof_delayed_fsync", &count(&stats.delayed)),
            ("aof_lsn_appended", &progress.appended().0),
            ("aof_lsn_written", &progress.written().0),
            ("aof_lsn_durable", &progress.durable().0),
            ("aof_frames", &count(&stats.frames)),
            ("aof_syncs", &count(&stats.syncs)),
            ("aof_sync_usec_average", &micros_per_sync),
            ("aof_sync_usec_last", &count(&stats.sync_micros_last)),
            ("aof_write_errors", &count(&stats.write_errors)),
            ("aof_sync_errors", &count(&stats.sync_errors)),
        ],
    );
}

fn stats(cx: &mut Cx<'_>, out: &mut String) -> Result<(), CommandError> {
    let expiring = cx.store.databases().iter().map(Database::expires_len).sum::<usize>();
    let stale = format!("{:.2}", cx.store.due_len(cx.now()) as f64 * 100.0 / expiring.max(1) as f64);
    let server = Server::of(cx)?;
    let shared = server.shared()?;
    let rates = &server.rates;
    let (turns, micros_per_turn) = (rates.turns_per_second(), rates.micros_per_turn());
    let (ops, input, output) = (
        rates.commands_per_second(),
        format!("{:.2}", rates.input_kib_per_second()),
        format!("{:.2}", rates.output_kib_per_second()),
    );
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let counters = &shared.counters;
    let parts = Parts::of(cx);
    let stats = &parts.stats;
    let now = parts.clock.monotonic();
    let (exceeding, exceeded) = parts.memory.exceeded_time(now);
    let defrag = shared.defrag.figures(now);
    lines(
        out,
        &[
            ("total_connections_received", &count(&counters.accepted)),
            ("total_commands_processed", &stats.commands),
            ("instantaneous_ops_per_sec", &ops),
            ("total_net_input_bytes", &count(&counters.bytes_in)),
            ("total_net_output_bytes", &count(&counters.bytes_out)),
            ("total_net_repl_input_bytes", &0),
            ("total_net_repl_output_bytes", &0),
            ("instantaneous_input_kbps", &input),
            ("instantaneous_output_kbps", &output),
            ("instantaneous_input_repl_kbps", &"0.00"),
            ("instantaneous_output_repl_kbps", &"0.00"),
            ("rejected_connections", &count(&counters.rejected)),
            ("sync_full", &0),
            ("sync_partial_ok", &0),
            ("sync_partial_err", &0),
            ("expired_keys", &stats.expired_keys),
            ("expired_stale_perc", &stale),
            ("expired_time_cap_reached_count", &stats.expiry_broken_off),
            ("expire_cycle_cpu_milliseconds", &stats.expiry_time.as_millis()),
            ("evicted_keys", &stats.evicted_keys),
            ("evicted_clients", &stats.evicted_clients),
            ("evicted_scripts", &stats.evicted_scripts),
            ("total_eviction_exceeded_time", &exceeded.as_millis()),
            ("current_eviction_exceeded_time", &exceeding.as_millis()),
            ("keyspace_hits", &stats.keyspace_hits),
            ("keyspace_misses", &stats.keyspace_misses),
            ("pubsub_channels", &parts.pubsub.channel_count()),
            ("pubsub_patterns", &parts.pubsub.pattern_count()),
            ("pubsubshard_channels", &parts.pubsub.shard_channel_count()),
            ("latest_fork_usec", &0),
            ("total_forks", &0),
            ("migrate_cached_sockets", &0),
            ("slave_expires_tracked_keys", &0),
            ("active_defrag_hits", &defrag.moved.hits),
            ("active_defrag_misses", &defrag.moved.misses),
            ("active_defrag_key_hits", &defrag.moved.key_hits),
            ("active_defrag_key_misses", &defrag.moved.key_misses),
            ("total_active_defrag_time", &defrag.total.as_millis()),
            ("current_active_defrag_time", &defrag.current.as_millis()),
            ("tracking_total_keys", &parts.tracking.key_count()),
            ("tracking_total_items", &parts.tracking.item_count()),
            ("tracking_total_prefixes", &parts.tracking.prefix_count()),
            ("unexpected_error_replies", &stats.unexpected_errors),
            ("total_error_replies", &stats.total_errors),
            ("dump_payload_sanitizations", &stats.payloads_checked),
            ("total_reads_processed", &count(&counters.reads)),
            ("total_writes_processed", &count(&counters.writes)),
            ("io_threaded_reads_processed", &count(&counters.threaded_reads)),
            ("io_threaded_writes_processed", &count(&counters.threaded_writes)),
            ("client_query_buffer_limit_disconnections", &count(&counters.query_limit_disconnections)),
            ("client_output_buffer_limit_disconnections", &count(&counters.output_limit_disconnections)),
            ("reply_buffer_shrinks", &count(&counters.buffer_shrinks)),
            ("reply_buffer_expands", &count(&counters.buffer_expands)),
            ("eventloop_cycles", &count(&counters.turns)),
            ("eventloop_duration_sum", &count(&counters.busy_micros)),
            ("eventloop_duration_cmd_sum", &(stats.command_time.as_micros() as u64)),
            ("instantaneous_eventloop_cycles_per_sec", &turns),
            ("instantaneous_eventloop_duration_usec", &micros_per_turn),
            ("acl_access_denied_auth", &stats.access_denied.auth),
            ("acl_access_denied_cmd", &stats.access_denied.command),
            ("acl_access_denied_key", &stats.access_denied.key),
            ("acl_access_denied_channel", &stats.access_denied.channel),
        ],
    );
    Ok(())
}

fn replication(cx: &mut Cx<'_>, out: &mut String) -> Result<(), CommandError> {
    let server = Server::of(cx)?;
    let shared = server.shared()?;
    // The log's timeline is the replication id, its position the offset; a server without a log has a passing one.
    let (replid, offset) = match shared.log() {
        Some(log) => (log.lineage.timeline.as_str().to_owned(), log.progress.appended().0 - 1),
        None => (server.passing_replication_id.clone(), 0),
    };
    lines(
        out,
        &[
            ("role", &"master"),
            ("connected_slaves", &0),
            ("master_failover_state", &"no-failover"),
            ("master_replid", &replid),
            ("master_replid2", &"0000000000000000000000000000000000000000"),
            ("master_repl_offset", &offset),
            ("second_repl_offset", &-1),
            ("repl_backlog_active", &0),
            ("repl_backlog_size", &1_048_576),
            ("repl_backlog_first_byte_offset", &0),
            ("repl_backlog_histlen", &0),
        ],
    );
    Ok(())
}

fn cpu(_: &mut Cx<'_>, out: &mut String) -> Result<(), CommandError> {
    let [system, user, children_system, children_user, thread_system, thread_user] =
        cpu_seconds().map(|seconds| format!("{seconds:.6}"));
    lines(
        out,
        &[
            ("used_cpu_sys", &system),
            ("used_cpu_user", &user),
            ("used_cpu_sys_children", &children_system),
            ("used_cpu_user_children", &children_user),
            ("used_cpu_sys_main_thread", &thread_system),
            ("used_cpu_user_main_thread", &thread_user),
        ],
    );
    Ok(())
}

fn command_stats(cx: &mut Cx<'_>, out: &mut String) -> Result<(), CommandError> {
    let parts = Parts::of(cx);
    for (resolved, stats) in parts.table.all().iter().zip(&parts.stats.per_command) {
        if stats.calls + stats.rejected + stats.failed == 0 {
            continue;
        }
        let micros = stats.time.as_micros() as u64;
        let _ = write!(
            out,
            "cmdstat_{}:calls={},usec={micros},usec_per_call={:.2},rejected_calls={},failed_calls={}\r\n",
            resolved.full_name(),
            stats.calls,
            stats.time.as_nanos() as f64 / 1000.0 / stats.calls.max(1) as f64,
            stats.rejected,
            stats.failed
        );
    }
    Ok(())
}

fn latency_stats(cx: &mut Cx<'_>, out: &mut String) -> Result<(), CommandError> {
    let settings = Server::of(cx)?.shared()?.settings();
    let parts = Parts::of(cx);
    for (resolved, stats) in parts.table.all().iter().zip(&parts.stats.per_command) {
        let Some(latency) = &stats.latency else { continue };
        let of = |percent: &f64| format!("p{percent}={:.3}", latency.percentile(*percent) as f64 / 1000.0);
        let percentiles: Vec<String> = settings.latency_percentiles.iter().map(of).collect();
        line(out, &format!("latency_percentiles_usec_{}", resolved.full_name()), percentiles.join(","));
    }
    Ok(())
}

fn error_stats(cx: &mut Cx<'_>, out: &mut String) -> Result<(), CommandError> {
    for (code, count) in &Parts::of(cx).stats.errors {
        let _ = write!(out, "errorstat_{code}:count={count}\r\n");
    }
    Ok(())
}

fn keyspace(cx: &mut Cx<'_>, out: &mut String) -> Result<(), CommandError> {
    cx.reads_all();
    let now = cx.now();
    for (index, db) in cx.store.databases().iter().enumerate().filter(|(_, db)| !db.is_empty()) {
        let _ =
            write!(out, "db{index}:keys={},expires={},avg_ttl={}\r\n", db.len(), db.expires_len(), db.average_ttl(now));
    }
    Ok(())
}
