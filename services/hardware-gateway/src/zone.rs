//! A zone: where it lies, where devices stand in it, and which links cross it. Metres in the zone's own frame. Pure.

pub mod store;

use std::collections::BTreeSet;

use events::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Coordinates and lengths are no larger than this, metres.
const MAX_M: f64 = 10_000.0;
/// Corners of a polygon at most.
const MAX_POINTS: usize = 200;
/// Placements, and links, at most.
const MAX_ITEMS: usize = 1000;
/// By so much a path may be shorter than the distance of its ends, metres: what a tape measure is off.
const SLACK_M: f64 = 0.05;

/// A place: x and y on the floor, z up, metres.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Metres.
    pub x: f64,
    /// Metres.
    pub y: f64,
    /// Metres.
    pub z: f64,
}

impl Point {
    /// Metres to another place.
    #[must_use]
    pub fn distance(self, other: Self) -> f64 {
        let (x, y, z) = (self.x - other.x, self.y - other.y, self.z - other.z);
        (x * x + y * y + z * z).sqrt()
    }
}

/// The floor that a zone covers, and its height.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// An upright box.
    Box {
        /// The corner with the smallest coordinates.
        corner: Point,
        /// Along x.
        width: f64,
        /// Along y.
        depth: f64,
        /// Along z.
        height: f64,
    },
    /// An outline, in order, not closed by a repeated first point.
    Polygon {
        /// Its corners; z is ignored.
        points: Vec<Point>,
        /// Along z.
        height: f64,
    },
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// A device, or any name that links use.
    pub name: String,
    /// Where.
    pub position: Point,
}

/// What the radio crosses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Name of a device or placement, or a MAC address.
    pub transmitter: String,
    /// The same.
    pub receiver: String,
    /// Metres, where a person gave it.
    pub path_length: Option<f64>,
}

/// A zone, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Zone {
    /// For people.
    pub display_name: String,
    /// 0 is the ground floor.
    pub floor: i32,
    /// Absent where nobody measured it.
    pub shape: Option<Shape>,
    /// What stands in it.
    pub placements: Vec<Placement>,
    /// What crosses it.
    pub links: Vec<Link>,
    /// The `request_id` that made it.
    #[serde(default)]
    pub request_id: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

impl Zone {
    /// Square metres of floor; absent without a shape.
    #[must_use]
    pub fn area(&self) -> Option<f64> {
        match self.shape.as_ref()? {
            Shape::Box { width, depth, .. } => Some(width * depth),
            Shape::Polygon { points, .. } => Some(area(points)),
        }
    }

    /// Where the thing of that name stands.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<Point> {
        let placement = self.placements.iter().find(|p| p.name == name)?;
        Some(placement.position)
    }

    /// Metres between the ends of a link; absent where one is not placed.
    #[must_use]
    pub fn distance(&self, link: &Link) -> Option<f64> {
        let transmitter = self.position(&link.transmitter)?;
        Some(transmitter.distance(self.position(&link.receiver)?))
    }

    /// Whether it can be a zone.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names the field.
    pub fn check(&self) -> Result<(), Error> {
        if self.display_name.chars().count() > 100 {
            return refuse("zone.display_name", "more than 100 characters");
        }
        match &self.shape {
            None => {}
            Some(Shape::Box {
                corner,
                width,
                depth,
                height,
            }) => {
                place("zone.box.corner", *corner)?;
                for (field, value) in [
                    ("zone.box.width_m", width),
                    ("zone.box.depth_m", depth),
                    ("zone.box.height_m", height),
                ] {
                    length(field, *value)?;
                }
            }
            Some(Shape::Polygon { points, height }) => {
                length("zone.polygon.height_m", *height)?;
                outline(points)?;
            }
        }
        if self.placements.len() > MAX_ITEMS || self.links.len() > MAX_ITEMS {
            return refuse("zone", format!("more than {MAX_ITEMS} placements or links"));
        }
        let mut names = BTreeSet::new();
        for placement in &self.placements {
            name("zone.placements.name", &placement.name)?;
            place("zone.placements.position", placement.position)?;
            if !names.insert(&placement.name) {
                return refuse(
                    "zone.placements",
                    format!("{:?} is placed twice", placement.name),
                );
            }
        }
        let mut pairs = BTreeSet::new();
        for link in &self.links {
            name("zone.links.transmitter", &link.transmitter)?;
            name("zone.links.receiver", &link.receiver)?;
            let (from, to) = (&link.transmitter, &link.receiver);
            if from == to {
                return refuse("zone.links", format!("{from:?} cannot be both ends"));
            }
            if !pairs.insert((from, to)) {
                return refuse("zone.links", format!("{from:?} to {to:?} is there twice"));
            }
            let Some(path) = link.path_length else {
                continue;
            };
            length("zone.links.path_length_m", path)?;
            if let Some(distance) = self.distance(link)
                && path + SLACK_M < distance
            {
                return refuse(
                    "zone.links.path_length_m",
                    format!(
                        "{path} m from {from:?} to {to:?} is shorter than the {distance:.2} m between them"
                    ),
                );
            }
        }
        Ok(())
    }
}

fn refuse<T>(field: &'static str, problem: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid {
        field,
        problem: problem.into(),
    })
}

fn place(field: &'static str, point: Point) -> Result<(), Error> {
    let Point { x, y, z } = point;
    if [x, y, z].iter().all(|v| v.is_finite() && v.abs() <= MAX_M) {
        return Ok(());
    }
    refuse(
        field,
        format!("({x}, {y}, {z}) must be finite and within {MAX_M} m"),
    )
}

fn length(field: &'static str, value: f64) -> Result<(), Error> {
    if value.is_finite() && value > 0.0 && value <= MAX_M {
        return Ok(());
    }
    refuse(
        field,
        format!("{value} must be more than 0 and at most {MAX_M} m"),
    )
}

fn name(field: &'static str, text: &str) -> Result<(), Error> {
    if !text.is_empty() && text.len() <= 100 && text.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(());
    }
    refuse(
        field,
        format!("{text:?} must be 1 to 100 visible ASCII characters"),
    )
}

/// An outline has at least three corners, covers some floor, and does not cross itself.
fn outline(points: &[Point]) -> Result<(), Error> {
    const FIELD: &str = "zone.polygon.points";
    if !(3..=MAX_POINTS).contains(&points.len()) {
        return refuse(
            FIELD,
            format!("{}: 3 to {MAX_POINTS} corners", points.len()),
        );
    }
    for point in points {
        place(FIELD, *point)?;
    }
    if area(points) < 1e-6 {
        return refuse(FIELD, "the outline covers no floor");
    }
    let sides: Vec<(Point, Point)> = sides(points).collect();
    for (i, one) in sides.iter().enumerate() {
        for (j, other) in sides.iter().enumerate().skip(i + 1) {
            let neighbours = j == i + 1 || (i == 0 && j + 1 == sides.len());
            if !neighbours && cross(*one, *other) {
                return refuse(FIELD, format!("side {} crosses side {}", i + 1, j + 1));
            }
        }
    }
    Ok(())
}

fn sides(points: &[Point]) -> impl Iterator<Item = (Point, Point)> + '_ {
    let next = points.iter().cycle().skip(1);
    points.iter().zip(next).map(|(from, to)| (*from, *to))
}

/// The shoelace formula.
fn area(points: &[Point]) -> f64 {
    let twice: f64 = sides(points)
        .map(|(from, to)| from.x * to.y - to.x * from.y)
        .sum();
    twice.abs() / 2.0
}

/// Whether two sides touch.
fn cross((a, b): (Point, Point), (c, d): (Point, Point)) -> bool {
    let turn = |p: Point, q: Point, r: Point| {
        let value = (q.x - p.x) * (r.y - p.y) - (q.y - p.y) * (r.x - p.x);
        if value > 0.0 {
            1
        } else if value < 0.0 {
            -1
        } else {
            0
        }
    };
    let on = |p: Point, q: Point, r: Point| {
        r.x >= p.x.min(q.x) && r.x <= p.x.max(q.x) && r.y >= p.y.min(q.y) && r.y <= p.y.max(q.y)
    };
    let (abc, abd, cda, cdb) = (turn(a, b, c), turn(a, b, d), turn(c, d, a), turn(c, d, b));
    (abc != abd && cda != cdb)
        || (abc == 0 && on(a, b, c))
        || (abd == 0 && on(a, b, d))
        || (cda == 0 && on(c, d, a))
        || (cdb == 0 && on(c, d, b))
}

#[cfg(test)]
mod tests;
