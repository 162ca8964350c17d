//! PFDEBUG and PFSELFTEST: what tests of HyperLogLogs ask.

use super::{Target, Union, damaged, header};
use crate::command::{Args, CommandError, Cx, quoted};
use crate::ds::hll::{self, Encoding, REGISTERS, dense, sparse};
use crate::value::Str;

pub(super) fn pfdebug(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let (subcommand, key) = (args.bytes(), args.bytes());
    args.finish()?;
    let (found, reply) = cx.read::<Str>(key)?;
    let text = found.ok_or(CommandError::fixed("ERR The specified key does not exist"))?;
    let encoding = header(text)?.encoding;
    match subcommand.to_ascii_lowercase().as_slice() {
        b"getreg" => {
            make_dense(cx, key, encoding)?;
            let registers = Union::of(cx, &[key])?.registers;
            cx.reply.array(REGISTERS);
            registers.iter().for_each(|rank| cx.reply.int(i64::from(*rank)));
        }
        b"decode" if encoding == Encoding::Dense => {
            return Err(CommandError::fixed("ERR HLL encoding is not sparse"));
        }
        b"decode" => {
            let bytes = text.to_vec();
            let runs = sparse::runs(&bytes).map(|run| match (run.rank, run.bytes) {
                (0, 1) => format!("z:{}", run.len),
                (0, _) => format!("Z:{}", run.len),
                (rank, _) => format!("v:{rank},{}", run.len),
            });
            reply.bulk(runs.collect::<Vec<_>>().join(" "));
        }
        b"encoding" => reply.simple(match encoding {
            Encoding::Dense => "dense",
            Encoding::Sparse => "sparse",
        }),
        b"todense" => {
            make_dense(cx, key, encoding)?;
            cx.reply.int(i64::from(encoding == Encoding::Sparse));
        }
        _ => {
            let name = quoted(subcommand);
            return Err(CommandError::new(format!("ERR Unknown PFDEBUG subcommand '{name}'")));
        }
    }
    Ok(())
}

fn make_dense(cx: &mut Cx<'_>, key: &[u8], encoding: Encoding) -> Result<(), CommandError> {
    if encoding == Encoding::Dense {
        return Ok(());
    }
    cx.edit_string(key, "", |text, edit| {
        Target::new(text, 0)?.make_dense()?;
        edit.changed(1);
        edit.silent();
        Ok(())
    })
}

/// Elements that the self test adds: the sparse form gives way to the dense one on the way.
const ELEMENTS: u32 = 100_000;
/// Rounds over all registers.
const ROUNDS: u8 = 3;

pub(super) fn pfselftest(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    registers_hold_what_is_put_there(cx)?;
    estimates_are_near_and_the_same_in_both_forms(cx)?;
    cx.reply.ok();
    Ok(())
}

fn failed(text: String) -> CommandError {
    CommandError::new(format!("TESTFAILED {text}"))
}

fn registers_hold_what_is_put_there(cx: &mut Cx<'_>) -> Result<(), CommandError> {
    for round in 1..=ROUNDS {
        let mut bytes = sparse::to_dense(&hll::empty()).map_err(damaged)?;
        let mut expected = [0; REGISTERS];
        for (index, rank) in expected.iter_mut().enumerate() {
            *rank = (cx.entropy().next_u64() % 64) as u8;
            dense::raise(&mut bytes, index, *rank);
        }
        for (index, (found, expected)) in dense::registers(&bytes).zip(expected).enumerate() {
            if found != expected {
                return Err(failed(format!("Register {index} should be {expected} but is {found} (round {round})")));
            }
        }
    }
    Ok(())
}

fn estimates_are_near_and_the_same_in_both_forms(cx: &mut Cx<'_>) -> Result<(), CommandError> {
    let bytes_max = cx.limits().hll_sparse_max_bytes;
    let (mut grown, mut dense_twin) = (Str::raw(&hll::empty()), sparse::to_dense(&hll::empty()).map_err(damaged)?);
    let salt = cx.entropy().next_u64();
    for number in 1..=ELEMENTS {
        let (index, rank) = hll::locate(&(u64::from(number) ^ salt).to_le_bytes());
        let mut target = Target::new(&mut grown, bytes_max)?;
        if target.raise(index, rank)? {
            target.finish();
        }
        dense::raise(&mut dense_twin, index, rank);
        if number.is_power_of_two() || number == ELEMENTS {
            let counts = [
                hll::cardinality(header(grown.as_ref())?.encoding, &grown.to_vec()).map_err(damaged)?,
                hll::cardinality(Encoding::Dense, &dense_twin).map_err(damaged)?,
            ];
            if counts[0] != counts[1] {
                return Err(failed(format!("dense/sparse disagree: {} and {} for {number}", counts[1], counts[0])));
            }
            // Six standard errors of 1.04 / sqrt(16384), and one for roundings.
            let allowed = f64::from(number) * 6.0 * 1.04 / (REGISTERS as f64).sqrt() + 1.0;
            if (counts[0] as f64 - f64::from(number)).abs() > allowed {
                return Err(failed(format!("Too big error. card:{number} estimated:{}", counts[0])));
            }
        }
    }
    Ok(())
}
