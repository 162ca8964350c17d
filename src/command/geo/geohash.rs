//! Cells of the earth's map: each step halves them in both directions and adds a bit of longitude and one of latitude.

/// The map ends where it would no longer be a square (Web Mercator).
const LATITUDE_MAX: f64 = 85.051_128_78;
const LONGITUDE_MAX: f64 = 180.0;
/// Steps of the scores in sorted sets.
pub(super) const STEPS_MAX: u32 = 26;

const EVEN_BITS: u64 = 0x5555_5555_5555_5555;
const ODD_BITS: u64 = !EVEN_BITS;

/// A place, in degrees.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    pub longitude: f64,
    pub latitude: f64,
}

impl Point {
    pub fn is_on_the_map(self) -> bool {
        (-LONGITUDE_MAX..=LONGITUDE_MAX).contains(&self.longitude)
            && (-LATITUDE_MAX..=LATITUDE_MAX).contains(&self.latitude)
    }

    /// The score under which a sorted set keeps it.
    pub fn score(self) -> f64 {
        Cell::around(self, STEPS_MAX).bits as f64
    }

    /// The middle of the cell that a score names.
    pub fn of_score(score: f64) -> Self {
        // As the machine converts: a negative score, which no place has, wraps around.
        let bits = if score < 0.0 { score as i64 as u64 } else { score as u64 };
        let area = Cell { bits, steps: STEPS_MAX }.area();
        let middle = |low: f64, high: f64, max: f64| f64::midpoint(low, high).clamp(-max, max);
        Self {
            longitude: middle(area.west, area.east, LONGITUDE_MAX),
            latitude: middle(area.south, area.north, LATITUDE_MAX),
        }
    }

    /// The standard geohash of eleven letters; its last one is always `0`, since 52 bits are known.
    pub fn geohash(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        // The standard's map reaches to the poles.
        let bits = interleave(self, 90.0, STEPS_MAX);
        std::array::from_fn(|letter| match letter {
            10 => ALPHABET[0],
            _ => ALPHABET[(bits >> (52 - 5 * (letter + 1)) & 0x1f) as usize],
        })
    }
}

/// A cell: `2 * steps` bits, longitude in the odd ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub bits: u64,
    pub steps: u32,
}

/// The borders of a cell, in degrees.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    pub west: f64,
    pub east: f64,
    pub south: f64,
    pub north: f64,
}

impl Cell {
    /// The cell of this size that a point lies in.
    pub fn around(point: Point, steps: u32) -> Self {
        Self { bits: interleave(point, LATITUDE_MAX, steps), steps }
    }

    pub fn area(self) -> Area {
        let (latitude, longitude) = (gather(self.bits), gather(self.bits >> 1));
        let cells = (1_u64 << self.steps) as f64;
        let border = |at: u32, max: f64| -max + (f64::from(at) / cells) * (max - -max);
        Area {
            west: border(longitude, LONGITUDE_MAX),
            east: border(longitude.wrapping_add(1), LONGITUDE_MAX),
            south: border(latitude, LATITUDE_MAX),
            north: border(latitude.wrapping_add(1), LATITUDE_MAX),
        }
    }

    /// The cell so many cells (-1, 0 or 1) to the east and to the north; behind the map's border it begins anew.
    pub fn neighbor(self, east: i32, north: i32) -> Self {
        let within = u64::MAX >> (64 - 2 * self.steps);
        let moved = |own: u64, other: u64, by: i32| {
            // Carries run through the bits of the other direction while these are all set, or all borrow.
            let sum = match by {
                0 => own,
                1.. => own.wrapping_add((other & within) + 1),
                _ => (own | other & within).wrapping_sub((other & within) + 1),
            };
            if by == 0 { own } else { sum & !other & within }
        };
        let (longitude, latitude) = (self.bits & ODD_BITS, self.bits & EVEN_BITS);
        Self { bits: moved(longitude, EVEN_BITS, east) | moved(latitude, ODD_BITS, north), steps: self.steps }
    }

    /// The scores of what lies in it: from the first, up to but without the second.
    pub fn scores(self) -> (f64, f64) {
        let unused = 2 * (STEPS_MAX - self.steps);
        ((self.bits << unused) as f64, ((self.bits + 1) << unused) as f64)
    }
}

fn interleave(point: Point, latitude_max: f64, steps: u32) -> u64 {
    let cells = (1_u64 << steps) as f64;
    let place = |degrees: f64, max: f64| ((degrees - -max) / (max - -max) * cells) as u32;
    spread(place(point.latitude, latitude_max)) | spread(place(point.longitude, LONGITUDE_MAX)) << 1
}

/// Each bit with a zero in front of it.
fn spread(number: u32) -> u64 {
    [16, 8, 4, 2, 1].into_iter().fold(u64::from(number), |bits, by| {
        let mask = u64::MAX / ((1 << by) + 1);
        (bits | bits << by) & mask
    })
}

/// The even bits, moved together.
fn gather(bits: u64) -> u32 {
    [1, 2, 4, 8, 16].into_iter().fold(bits & EVEN_BITS, |bits, by| {
        let mask = u64::MAX / ((1 << (2 * by)) + 1);
        (bits | bits >> by) & mask
    }) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn gathering_undoes_spreading(number: u32) -> bool {
            gather(spread(number)) == number && spread(number) & ODD_BITS == 0 && gather(spread(number) << 1) == 0
        }

        fn a_point_lies_in_its_cell_and_steps_there_and_back(longitude: u32, latitude: u32, steps: u32) -> bool {
            let part = |number: u32, max: f64| (f64::from(number) / f64::from(u32::MAX) * 2.0 - 1.0) * max * 0.999;
            let point = Point { longitude: part(longitude, LONGITUDE_MAX), latitude: part(latitude, LATITUDE_MAX) };
            let steps = 1 + steps % STEPS_MAX;
            let cell = Cell::around(point, steps);
            let area = cell.area();
            let (first, behind) = cell.scores();
            let score = point.score();
            (area.west..=area.east).contains(&point.longitude)
                && (area.south..=area.north).contains(&point.latitude)
                && first <= score && score < behind
                && [(1, 0), (0, 1), (1, 1), (-1, 1)]
                    .into_iter()
                    .all(|(east, north)| cell.neighbor(east, north).neighbor(-east, -north) == cell)
        }
    }

    #[test]
    fn scores_and_geohashes_are_those_of_the_stock_server() {
        for (longitude, latitude, score, geohash) in [
            (13.361389, 38.115556, 3_479_099_956_230_698.0, "sqc8b49rny0"),
            (15.087269, 37.502669, 3_479_447_370_796_909.0, "sqdtr74hyu0"),
            (0.0, 0.0, 3_377_699_720_527_872.0, "s0000000000"),
        ] {
            let point = Point { longitude, latitude };
            assert_eq!(point.score(), score);
            assert_eq!(&Point::of_score(score).geohash()[..], geohash.as_bytes());
        }
    }
}
