//! Places on the earth, kept as the scores of sorted sets: 52 bits in which longitude and latitude take turns.
//!
//! Formulae and constants are the stock server's, so that scores, distances and the order of replies are its own.

mod geohash;
mod members;
mod search;
mod shape;

use super::{Args, Command, CommandError, Group, KeyFlags};
use crate::resp::Reply;
use geohash::Point;

/// The family, one slice per file.
pub(super) const FAMILIES: [&[Command]; 2] = [members::COMMANDS, search::COMMANDS];

const DECLARATION: Command = Command { group: Group::Geo, ..Command::DEFAULT };

const READ: KeyFlags = KeyFlags::RO.and(KeyFlags::ACCESS);
const OVERWRITE: KeyFlags = KeyFlags::OW.and(KeyFlags::UPDATE);

/// Reads a longitude and a latitude.
fn point(args: &mut Args<'_>) -> Result<Point, CommandError> {
    let point = Point { longitude: args.float(), latitude: args.float() };
    args.check()?;
    if point.is_on_the_map() {
        return Ok(point);
    }
    let Point { longitude, latitude } = point;
    Err(CommandError::new(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}")))
}

/// Reads the name of a unit; the result is its length in meters.
fn unit(args: &mut Args<'_>) -> Result<f64, CommandError> {
    let units = [("m", 1.0), ("km", 1000.0), ("ft", 0.3048), ("mi", 1609.34)];
    match units.into_iter().find(|(name, _)| args.word(name)) {
        Some((_, meters)) => Ok(meters),
        None => Err(CommandError::fixed("ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

/// A distance, with four digits.
fn reply_distance(reply: &mut Reply, distance: f64) {
    let scaled = (distance * 10_000.0).round_ties_even() as u64;
    reply.bulk(format!("{}.{:04}", scaled / 10_000, scaled % 10_000));
}

/// A longitude and a latitude, with 17 digits behind the point as far as they are not zeros.
fn reply_point(reply: &mut Reply, point: Point) {
    reply.array(2);
    for degrees in [point.longitude, point.latitude] {
        let text = format!("{degrees:.17}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        reply.double_text(if text == "-0" { "0" } else { text });
    }
}
