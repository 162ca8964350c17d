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
    let mut numbers = Vec::new();
    while version == 5 && numbers.len() < 3 && !args.is_empty() {
        numbers.push(args.int());
    }
    args.check()?;
    cx.reads_all();
    let mut picture = String::new();
    if version == 5 {
        let number = |at: usize, default: i64, most: i64| numbers.get(at).copied().unwrap_or(default).clamp(1, most);
        let (columns, per_row, rows) = (number(0, 66, 1000), number(1, 8, 200), number(2, 12, 200));
        picture = squares(columns as usize, per_row as usize, rows as usize, || {
            cx.entropy().next_u64() as f64 / u64::MAX as f64
        });
        picture.push_str("\nGeorg Nees - schotter, plotter on paper, 1968. ");
    }
    picture.push_str(&format!("Redis ver. {REDIS_VERSION}\n"));
    cx.reply.verbatim(*b"txt", picture);
    Ok(())
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
    use super::squares;

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
