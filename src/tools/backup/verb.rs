//! The verb: its options, and what it says.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::{BackupOptions, Login, ask, backup_to_directory, backup_to_stream};
use crate::env::SystemClock;
use crate::env::disk::Pace;
use crate::tools::cli::watched;
use crate::tools::place::Place;
use crate::tools::{Exit, find};

/// What a command line says.
#[derive(Args)]
pub struct Arguments {
    /// The data directory.
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    path: Option<PathBuf>,
    /// A directory that does not exist or is empty; "-" writes a tar archive to standard output.
    target: PathBuf,
    /// Ask the server at this address, on this machine, where its data is; one without an append-only file saves first.
    /// A password is taken from the environment's REDISCLI_AUTH.
    #[arg(long, value_name = "HOST:PORT|SOCKET")]
    from: Option<String>,
    /// Log in to that server as this user.
    #[arg(long, requires = "from")]
    user: Option<String>,
    /// Compress: the archive, or each file of the directory, which `zstd -d -r --rm` then makes a data directory.
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "3",
          value_parser = clap::value_parser!(i32).range(1..=22))]
    zstd: Option<i32>,
    /// Copy the archive, too: a restore of the copy can go as far back.
    #[arg(long)]
    archive: bool,
    /// Read no faster than this.
    #[arg(long, value_name = "MB", default_value_t = 0)]
    max_mb_per_sec: u64,
}

/// Makes the backup that a command line asks for, and says what was made.
pub fn run(arguments: Arguments) -> Exit {
    // What goes to a terminal is not mixed with a bar.
    let (looking, disk) = watched(arguments.target.as_os_str() == "-" && std::io::stdout().is_terminal());
    let Arguments { path, target, from, user, zstd, archive, max_mb_per_sec } = arguments;
    if user.is_some() && from.is_none() {
        complain!("--user logs in to a server: name it with --from");
        return Exit::Usage;
    }
    let (source, asked) = match (path, from) {
        (_, Some(address)) => {
            let password = std::env::var("REDISCLI_AUTH").ok();
            match ask(&address, &Login { user, password }) {
                Ok((source, asked)) => (source, Some(asked)),
                Err(error) => {
                    complain!("{error}");
                    return Exit::Io;
                }
            }
        }
        (path, None) => {
            let path = path.unwrap_or_default();
            match find(&*disk, &path) {
                Ok(Place::Directory(source)) => (*source, None),
                Ok(_) => {
                    complain!("{} is a file: a backup is made of a data directory", path.display());
                    return Exit::Usage;
                }
                Err(exit) => return exit,
            }
        }
    };
    let pace = Pace::new(Arc::new(SystemClock::new()));
    pace.set_rate(max_mb_per_sec.saturating_mul(1_000_000));
    let options = BackupOptions { source, zstd, pace, archive, asked };
    let made = if target.as_os_str() == "-" {
        backup_to_stream(&*disk, options, std::io::stdout().lock())
    } else {
        backup_to_directory(&disk, options, &target)
    };
    looking.finish();
    match made {
        Ok(backup) => {
            // Standard output may be the archive.
            complain!("{}: {backup}", target.display());
            Exit::Sound
        }
        Err(error) => {
            complain!("{error}");
            error.exit()
        }
    }
}
