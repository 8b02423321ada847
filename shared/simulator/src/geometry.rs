//! The room and the image method.

use serde::{Deserialize, Serialize};

/// A point in metres: east, north, up from one corner of the floor.
pub(crate) type Point = [f64; 3];

/// A rectangular room and how its surfaces reflect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Room {
    /// Length, width and height in metres.
    pub size_m: [f64; 3],
    /// Amplitude reflection coefficient of each surface, -1..1: west, east, south, north, floor, ceiling. Plaster and brick
    /// reflect about a third to two thirds of the amplitude at 2.4 GHz, with the sign turned.
    pub reflection: [f64; 6],
    /// Most wall reflections on a path from transmitter to receiver.
    pub order: u8,
    /// Most wall reflections on a path by way of a body (0 or 1).
    pub scatter_order: u8,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            size_m: [6.0, 4.5, 2.6],
            reflection: [-0.65, -0.65, -0.65, -0.65, -0.55, -0.55],
            order: 3,
            scatter_order: 1,
        }
    }
}

/// Where a source appears to be, and what the walls leave of its amplitude on the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Image {
    pub position: Point,
    pub amplitude: f64,
    /// Wall reflections on the way.
    pub reflections: u8,
}

impl Room {
    /// The images of a source with at most `order` reflections, the source itself first.
    pub(crate) fn images(&self, source: Point, order: u8) -> Vec<Image> {
        let order = i32::from(order);
        let [west, east, south, north, floor, ceiling] = self.reflection;
        let [length, width, height] = self.size_m;
        let mut images = Vec::new();
        for x in -order..=order {
            for y in -order..=order {
                for z in -order..=order {
                    let reflections = x.abs() + y.abs() + z.abs();
                    if reflections > order {
                        continue;
                    }
                    images.push(Image {
                        position: [
                            mirrored(source[0], length, x),
                            mirrored(source[1], width, y),
                            mirrored(source[2], height, z),
                        ],
                        amplitude: bounced(west, east, x)
                            * bounced(south, north, y)
                            * bounced(floor, ceiling, z),
                        reflections: u8::try_from(reflections).unwrap_or(u8::MAX),
                    });
                }
            }
        }
        images.sort_by_key(|image| image.reflections);
        images
    }

    /// Whether a point lies inside, walls included.
    pub(crate) fn contains(&self, point: Point) -> bool {
        point
            .iter()
            .zip(self.size_m)
            .all(|(coordinate, size)| (0.0..=size).contains(coordinate))
    }
}

/// Coordinate of the image number `n` of a source between two walls at 0 and `size`.
fn mirrored(coordinate: f64, size: f64, n: i32) -> f64 {
    let inside = if n % 2 == 0 {
        coordinate
    } else {
        size - coordinate
    };
    f64::from(n) * size + inside
}

/// What the reflections of image number `n` leave: they alternate, and begin with the wall on the image's side.
fn bounced(near: f64, far: f64, n: i32) -> f64 {
    let count = n.abs();
    let (first, second) = if n < 0 { (near, far) } else { (far, near) };
    first.powi((count + 1) / 2) * second.powi(count / 2)
}

/// Distance in metres.
pub(crate) fn distance(a: Point, b: Point) -> f64 {
    let square: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    square.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_bounds_the_number_of_images() {
        let room = Room::default();
        for (order, count) in [(0, 1), (1, 7), (2, 25), (3, 63)] {
            assert_eq!(
                room.images([1.0, 2.0, 1.0], order).len(),
                count,
                "order {order}"
            );
        }
    }

    #[test]
    fn an_image_lies_behind_its_wall_and_takes_that_walls_coefficient() {
        let room = Room {
            size_m: [6.0, 4.0, 3.0],
            reflection: [-0.1, -0.2, -0.3, -0.4, -0.5, -0.6],
            ..Room::default()
        };
        let images = room.images([1.0, 1.5, 1.0], 2);
        let at = |position: Point| {
            images
                .iter()
                .find(|image| distance(image.position, position) < 1e-9)
                .map(|image| image.amplitude)
        };
        assert_eq!(at([1.0, 1.5, 1.0]), Some(1.0));
        assert_eq!(at([-1.0, 1.5, 1.0]), Some(-0.1), "west");
        assert_eq!(at([11.0, 1.5, 1.0]), Some(-0.2), "east");
        assert_eq!(at([1.0, -1.5, 1.0]), Some(-0.3), "south");
        assert_eq!(at([1.0, 6.5, 1.0]), Some(-0.4), "north");
        assert_eq!(at([1.0, 1.5, -1.0]), Some(-0.5), "floor");
        assert_eq!(at([1.0, 1.5, 5.0]), Some(-0.6), "ceiling");
        assert_eq!(at([13.0, 1.5, 1.0]), Some(-0.2 * -0.1), "west, then east");
    }
}
