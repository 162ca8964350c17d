//! LOLWUT: a picture, another one each time.

use crate::command::{Args, Command, CommandError, Cx, Flags, Group};
use crate::server::REDIS_VERSION;

pub static COMMANDS: &[Command] = &[Command {
    name: "lolwut",
    arity: -1,
    flags: Flags::READONLY.and(Flags::FAST),
    run: lolwut,
    group: Group::Server,
    since: "5.0.0",
    summary: "Displays computer art and the Redis version",
    syntax: "[VERSION version:integer]",
    ..Command::DEFAULT
}];

fn lolwut(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let mut version = 0;
    if args.remaining() >= 2 && args.word("version") {
        version = args.int();
        args.check()?;
    }
    let most = match version {
        5 => 3,
        6 => 2,
        _ => 0,
    };
    let mut numbers = Vec::new();
    while numbers.len() < most && !args.is_empty() {
        numbers.push(args.int());
    }
    args.check()?;
    cx.reads_all();
    let number =
        |at: usize, default: i64, most: i64| numbers.get(at).copied().unwrap_or(default).clamp(1, most) as usize;
    let mut chance = || cx.entropy().next_u64() as f64 / u64::MAX as f64;
    let mut picture = match version {
        5 => squares(number(0, 66, 1000), number(1, 8, 200), number(2, 12, 200), chance),
        6 => skyline(number(0, 80, 1000), number(1, 20, 1000), &mut chance),
        _ => String::new(),
    };
    match version {
        5 => picture.push_str("\nGeorg Nees - schotter, plotter on paper, 1968. "),
        6 => picture.push_str("\nA city before dusk, in the four grays of early pocket consoles. "),
        _ => {}
    }
    picture.push_str(&format!("Redis ver. {REDIS_VERSION}\n"));
    cx.reply.verbatim(*b"txt", picture);
    Ok(())
}

/// Rows of houses under a sky, each nearer row darker than the one behind it, some windows of the nearest lit. A character
/// is a space of one of four grays.
fn skyline(columns: usize, rows: usize, chance: &mut impl FnMut() -> f64) -> String {
    /// Foreground and background of white, light gray, dark gray and black, as terminals number them.
    const GRAYS: [&str; 4] = ["0;97;107m", "0;37;47m", "0;90;100m", "0;30;40m"];
    const SKY: usize = 0;
    let mut cells = vec![SKY; columns * rows];
    for depth in 1..GRAYS.len() {
        let mut left = -((chance() * 6.0) as isize);
        while left < columns as isize {
            let width = 4 + (chance() * 12.0) as isize;
            // Nearer rows are lower, so that those behind them are seen.
            let share = (0.35 + 0.5 * chance()) * (1.15 - 0.2 * depth as f64);
            let top = rows as isize - (rows as f64 * share) as isize;
            for row in top.max(0)..rows as isize {
                for column in left.max(0)..(left + width).min(columns as isize) {
                    let (dx, dy) = (column - left, row - top);
                    let window = depth + 1 == GRAYS.len() && dx % 3 == 1 && dy % 3 == 1 && dx + 1 < width;
                    let lit = window && chance() < 0.4;
                    cells[row as usize * columns + column as usize] = if lit { 1 } else { depth };
                }
            }
            left += width + (chance() * 3.0) as isize;
        }
    }
    let mut text = String::new();
    for row in cells.chunks(columns) {
        row.iter().for_each(|gray| text.push_str(&format!("\x1b[{} \x1b[0m", GRAYS[*gray])));
        text.push('\n');
    }
    text
}

/// Rows of squares that fall into disorder from above to below.
fn squares(columns: usize, per_row: usize, rows: usize, mut chance: impl FnMut() -> f64) -> String {
    let width = columns * 2;
    let side = (width as f64 - 4.0) / per_row as f64;
    let mut canvas = Canvas::new(width, (side * rows as f64 + 4.0) as usize);
    for row in 0..rows {
        for column in 0..per_row {
            let disorder = row as f64 / rows as f64;
            let mut shift = |by: f64| (chance() * 2.0 - 1.0) * disorder * by;
            let angle = shift(std::f64::consts::FRAC_PI_4);
            let (dx, dy) = (shift(side / 3.0), shift(side / 3.0));
            let centre = (column as f64 * side + side / 2.0 + 2.0 + dx, row as f64 * side + side / 2.0 + 2.0 + dy);
            let radius = side * std::f64::consts::FRAC_1_SQRT_2;
            let corner = |n: i32| {
                let angle = angle + std::f64::consts::FRAC_PI_2 * f64::from(n) + std::f64::consts::FRAC_PI_4;
                (centre.0 + radius * angle.cos(), centre.1 + radius * angle.sin())
            };
            for n in 0..4 {
                canvas.line(corner(n), corner(n + 1));
            }
        }
    }
    canvas.text()
}

/// Dots, two by four to a character (Braille patterns).
struct Canvas {
    width: usize,
    height: usize,
    dots: Vec<bool>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, dots: vec![false; width * height] }
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64)) {
        let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).ceil().max(1.0);
        for step in 0..=steps as usize {
            let part = step as f64 / steps;
            let (x, y) = (from.0 + (to.0 - from.0) * part, from.1 + (to.1 - from.1) * part);
            if x >= 0.0 && y >= 0.0 && (x as usize) < self.width && (y as usize) < self.height {
                self.dots[y as usize * self.width + x as usize] = true;
            }
        }
    }

    fn text(&self) -> String {
        // The bit of each dot in a pattern, by row and column.
        const BITS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let mut text = String::new();
        for top in (0..self.height).step_by(4) {
            for left in (0..self.width).step_by(2) {
                let mut pattern = 0x2800;
                for (row, bits) in BITS.iter().enumerate() {
                    for (column, bit) in bits.iter().enumerate() {
                        let at = (top + row) * self.width + left + column;
                        if top + row < self.height && left + column < self.width && self.dots[at] {
                            pattern |= bit;
                        }
                    }
                }
                text.push(char::from_u32(pattern).unwrap_or(' '));
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{skyline, squares};

    #[test]
    fn a_city_has_the_asked_size_and_all_grays() {
        let mut seed = 7_u64;
        let mut chance = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as f64 / (1_u64 << 31) as f64
        };
        let city = skyline(80, 20, &mut chance);
        assert_eq!(city.lines().map(|line| line.matches(" \x1b[0m").count()).collect::<Vec<_>>(), [80; 20]);
        for gray in ["97;107", "37;47", "90;100", "30;40"] {
            assert!(city.contains(gray), "{gray}");
        }
        assert_ne!(city, skyline(80, 20, &mut chance));
        assert_eq!(skyline(1, 1, &mut || 0.0).lines().count(), 1);
    }

    #[test]
    fn a_picture_has_the_asked_size_and_order_above() {
        let picture = squares(20, 2, 3, || 1.0);
        let lines: Vec<&str> = picture.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() == 20), "{picture}");
        assert_eq!(lines.len(), 58usize.div_ceil(4));
        assert_ne!(picture, squares(20, 2, 3, || 0.2));
        assert_eq!(squares(1, 200, 200, || 0.5).lines().next().map(|line| line.chars().count()), Some(1));
    }
}
