//! Sends SETs over one connection at a fixed rate, whatever the replies do, and prints how long each was under way from the
//! moment it was due: p99.9 and the longest, in milliseconds. `benches/snapshots.py` builds and runs it.
//!
//!     open_loop PORT KEYS RATE SECONDS [COMMAND]
//!
//! COMMAND is sent over a connection of its own a fifth of a second after the beginning. One thread sends and one receives, so
//! that neither waits for the other; both sleep in between.
#![expect(clippy::disallowed_methods, reason = "it measures the real time, of another process")]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const VALUE_BYTES: usize = 32;
const OK: usize = "+OK\r\n".len();
const ASKED_AFTER: Duration = Duration::from_millis(200);

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [port, keys, rate, seconds, command @ ..] = &words[..] else {
        eprintln!("open_loop PORT KEYS RATE SECONDS [COMMAND]");
        return Ok(());
    };
    let (keys, rate, seconds): (u64, f64, f64) = (keys.parse()?, rate.parse()?, seconds.parse()?);
    let port: u16 = port.parse()?;
    let connect = || -> std::io::Result<TcpStream> {
        let link = TcpStream::connect(("127.0.0.1", port))?;
        link.set_nodelay(true)?;
        Ok(link)
    };
    let requests = requests((rate * seconds) as usize, keys);
    let (mut sending, mut asking) = (connect()?, connect()?);
    let mut receiving = sending.try_clone()?;
    let began = Instant::now() + Duration::from_millis(10);
    let due = |request: usize| began + Duration::from_secs_f64(request as f64 / rate);
    let total = requests.len();
    let mut latencies = thread::scope(|scope| -> Result<Vec<Duration>, Box<dyn Error>> {
        let sender = scope.spawn(|| -> std::io::Result<()> {
            let mut sent = 0;
            while sent < total {
                thread::sleep(due(sent).saturating_duration_since(Instant::now()));
                let now = Instant::now();
                let end = (sent..total).find(|&request| due(request) > now).unwrap_or(total);
                sending.write_all(&requests[sent..end].concat())?;
                sent = end;
            }
            Ok(())
        });
        let asker = scope.spawn(|| -> std::io::Result<String> {
            let mut reply = String::new();
            if let Some(command) = command.first() {
                thread::sleep(due(0).saturating_duration_since(Instant::now()) + ASKED_AFTER);
                asking.write_all(format!("*1\r\n${}\r\n{command}\r\n", command.len()).as_bytes())?;
                BufReader::new(&asking).read_line(&mut reply)?;
            }
            Ok(reply)
        });
        let (mut latencies, mut received, mut buffer) = (Vec::with_capacity(total), 0, vec![0; 1 << 16]);
        while latencies.len() < total {
            let bytes = receiving.read(&mut buffer)?;
            let now = Instant::now();
            if bytes == 0 || buffer[..bytes].contains(&b'-') {
                return Err(String::from_utf8_lossy(&buffer[..bytes]).into());
            }
            received += bytes;
            for request in latencies.len()..received / OK {
                latencies.push(now.saturating_duration_since(due(request)));
            }
        }
        sender.join().map_err(|_| "the sender panicked")??;
        let reply = asker.join().map_err(|_| "the asker panicked")??;
        if reply.starts_with('-') {
            return Err(reply.into());
        }
        Ok(latencies)
    })?;
    latencies.sort_unstable();
    let milliseconds = |place: usize| latencies[place.min(total - 1)].as_secs_f64() * 1000.0;
    println!("{} {}", milliseconds(total * 999 / 1000), milliseconds(total - 1));
    Ok(())
}

/// Overwrites of keys chosen uniformly.
fn requests(count: usize, keys: u64) -> Vec<Vec<u8>> {
    let mut state = 3_u64;
    let mut random = || {
        // Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let request = |_| {
        let key = random() % keys;
        let value: String = (0..VALUE_BYTES).map(|_| char::from(b'a' + (random() % 26) as u8)).collect();
        format!("*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n${VALUE_BYTES}\r\n{value}\r\n").into_bytes()
    };
    (0..count).map(request).collect()
}
