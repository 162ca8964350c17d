//! Circles and boxes on the earth: what lies in them, and which cells of the map cover them.

use super::geohash::{Cell, Point, STEPS_MAX};

const EARTH_RADIUS_METERS: f64 = 6_372_797.560_856;
/// Half the length of the equator on the map.
const MERCATOR_MAX: f64 = 20_037_726.37;
const RADIANS_PER_DEGREE: f64 = std::f64::consts::PI / 180.0;

fn radians(degrees: f64) -> f64 {
    degrees * RADIANS_PER_DEGREE
}

fn degrees(radians: f64) -> f64 {
    radians / RADIANS_PER_DEGREE
}

/// The distance of two places in meters, by the haversine formula.
pub(super) fn distance(a: Point, b: Point) -> f64 {
    let v = ((radians(b.longitude) - radians(a.longitude)) / 2.0).sin();
    if v == 0.0 {
        return distance_of_latitudes(a.latitude, b.latitude);
    }
    let (from, to) = (radians(a.latitude), radians(b.latitude));
    let u = ((to - from) / 2.0).sin();
    let a = u * u + from.cos() * to.cos() * v * v;
    2.0 * EARTH_RADIUS_METERS * a.sqrt().asin()
}

fn distance_of_latitudes(a: f64, b: f64) -> f64 {
    EARTH_RADIUS_METERS * (radians(b) - radians(a)).abs()
}

/// A form, its lengths in `unit`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

/// A form around a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    pub center: Point,
    pub form: Form,
    /// Meters.
    pub unit: f64,
}

/// What a shape reaches to, in degrees.
struct Bounds {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
}

impl Shape {
    /// How far a place is from the center, in meters, if it lies in the shape.
    pub fn distance_within(&self, place: Point) -> Option<f64> {
        match self.form {
            Form::Circle { radius } => {
                let distance = distance(self.center, place);
                (distance <= radius * self.unit).then_some(distance)
            }
            Form::Box { width, height } => {
                if distance_of_latitudes(place.latitude, self.center.latitude) > height * self.unit / 2.0 {
                    return None;
                }
                let beside = Point { latitude: place.latitude, ..self.center };
                (distance(place, beside) <= width * self.unit / 2.0).then(|| distance(self.center, place))
            }
        }
    }

    /// The cells that cover the shape, in the order in which they are searched: the one in the middle, then its
    /// neighbours. Those that the shape does not reach are left out; one may be there twice where cells are huge.
    pub fn cells(&self) -> Vec<Cell> {
        let bounds = self.bounds();
        let mut steps = self.steps();
        let mut cell = Cell::around(self.center, steps);
        let ends_too_soon = cell.neighbor(0, 1).area().north < bounds.north
            || cell.neighbor(0, -1).area().south > bounds.south
            || cell.neighbor(1, 0).area().east < bounds.east
            || cell.neighbor(-1, 0).area().west > bounds.west;
        if steps > 1 && ends_too_soon {
            steps -= 1;
            cell = Cell::around(self.center, steps);
        }
        let area = cell.area();
        let (mut easts, mut norths) = (-1..=1, -1..=1);
        if steps >= 2 {
            easts = if area.west < bounds.west { 0 } else { -1 }..=if area.east > bounds.east { 0 } else { 1 };
            norths = if area.south < bounds.south { 0 } else { -1 }..=if area.north > bounds.north { 0 } else { 1 };
        }
        [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)]
            .into_iter()
            .filter(|(east, north)| easts.contains(east) && norths.contains(north))
            .map(|(east, north)| cell.neighbor(east, north))
            .collect()
    }

    fn bounds(&self) -> Bounds {
        let Point { longitude, latitude } = self.center;
        let (width, height) = match self.form {
            Form::Circle { radius } => (self.unit * radius, self.unit * radius),
            Form::Box { width, height } => (self.unit * (width / 2.0), self.unit * (height / 2.0)),
        };
        let up = degrees(height / EARTH_RADIUS_METERS);
        // Meridians are closest where the shape is nearest to a pole.
        let closest = if latitude < 0.0 { latitude - up } else { latitude + up };
        let aside = degrees(width / EARTH_RADIUS_METERS / radians(closest).cos());
        Bounds { west: longitude - aside, east: longitude + aside, south: latitude - up, north: latitude + up }
    }

    /// Steps of cells that are about as large as the shape.
    fn steps(&self) -> u32 {
        let mut reach = self.unit
            * match self.form {
                Form::Circle { radius } => radius,
                Form::Box { width, height } => ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt(),
            };
        if reach == 0.0 {
            return STEPS_MAX;
        }
        let mut steps = 1_i32;
        while reach < MERCATOR_MAX {
            reach *= 2.0;
            steps += 1;
        }
        // Room for what is near a border; and the map stretches towards the poles.
        let latitude = self.center.latitude.abs();
        steps -= 2 + i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        steps.clamp(1, STEPS_MAX as i32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn point(longitude: i32, latitude: i32) -> Point {
        let part = |number: i32, max: f64| f64::from(number) / f64::from(i32::MAX) * max;
        Point { longitude: part(longitude, 179.0), latitude: part(latitude, 80.0) }
    }

    quickcheck! {
        /// Whatever lies in a shape lies in one of its cells.
        fn the_cells_cover_the_shape(center: (i32, i32), offset: (i32, i32), size: u32, flat: bool) -> bool {
            let center = point(center.0, center.1);
            let reach = 10_f64.powf(f64::from(size % 6_000) / 1_000.0);
            let form = if flat {
                Form::Box { width: reach * 1.5, height: reach / 2.0 }
            } else {
                Form::Circle { radius: reach }
            };
            let shape = Shape { center, form, unit: 1.0 };
            let part = |number: i32| f64::from(number) / f64::from(i32::MAX) * reach / 60_000.0;
            let place = Point {
                longitude: center.longitude + part(offset.0),
                latitude: center.latitude + part(offset.1),
            };
            // Shapes that reach over the map's border are cut off there, as in stock.
            if !place.is_on_the_map() || shape.distance_within(place).is_none() || center.latitude.abs() > 75.0 {
                return true;
            }
            shape.cells().into_iter().any(|cell| {
                let (first, behind) = cell.scores();
                (first..behind).contains(&place.score())
            })
        }
    }

    #[test]
    fn distances_are_along_great_circles() {
        let (palermo, catania) =
            (Point { longitude: 13.361389, latitude: 38.115556 }, Point { longitude: 15.087269, latitude: 37.502669 });
        assert!((distance(palermo, catania) - 166_274.0).abs() < 1.0);
        assert_eq!(distance(palermo, palermo), 0.0);
        let north = Point { latitude: 39.115556, ..palermo };
        assert!((distance(palermo, north) - 111_226.0).abs() < 1.0);
    }
}
