use super::*;

fn at(x: f64, y: f64, z: f64) -> Point {
    Point { x, y, z }
}

fn polygon(corners: &[(f64, f64)]) -> Zone {
    Zone {
        shape: Some(Shape::Polygon {
            points: corners.iter().map(|(x, y)| at(*x, *y, 0.0)).collect(),
            height: 2.5,
        }),
        ..Zone::default()
    }
}

fn room() -> Zone {
    Zone {
        shape: Some(Shape::Box {
            corner: at(0.0, 0.0, 0.0),
            width: 4.0,
            depth: 3.0,
            height: 2.5,
        }),
        placements: vec![
            Placement {
                name: "ap".into(),
                position: at(0.0, 0.0, 1.0),
            },
            Placement {
                name: "hall-1".into(),
                position: at(4.0, 3.0, 1.0),
            },
        ],
        links: vec![Link {
            transmitter: "ap".into(),
            receiver: "hall-1".into(),
            path_length: None,
        }],
        ..Zone::default()
    }
}

#[test]
fn areas_and_distances_follow_from_the_geometry() {
    let room = room();
    room.check().unwrap();
    assert_eq!(room.area(), Some(12.0));
    assert_eq!(room.distance(&room.links[0]), Some(5.0));
    let l = polygon(&[
        (0.0, 0.0),
        (4.0, 0.0),
        (4.0, 1.0),
        (1.0, 1.0),
        (1.0, 3.0),
        (0.0, 3.0),
    ]);
    l.check().unwrap();
    assert_eq!(l.area(), Some(6.0));
    assert_eq!(Zone::default().area(), None);
    Zone::default().check().unwrap();
}

#[test]
fn what_can_be_no_zone_is_refused_with_its_field() {
    let check = |zone: Zone, words: &str| {
        let error = zone.check().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    check(polygon(&[(0.0, 0.0), (1.0, 0.0)]), "2: 3 to 200 corners");
    check(
        polygon(&[(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)]),
        "covers no floor",
    );
    check(
        polygon(&[(0.0, 0.0), (4.0, 4.0), (4.0, 0.0), (0.0, 3.0)]),
        "side 1 crosses side 3",
    );
    check(
        polygon(&[(0.0, 0.0), (f64::NAN, 0.0), (1.0, 1.0)]),
        "finite",
    );
    let with = |edit: fn(&mut Zone)| {
        let mut zone = room();
        edit(&mut zone);
        zone
    };
    check(
        with(|zone| zone.placements[1].name = "ap".into()),
        "placed twice",
    );
    check(
        with(|zone| zone.links[0].receiver = "ap".into()),
        "both ends",
    );
    check(
        with(|zone| zone.links.push(zone.links[0].clone())),
        "there twice",
    );
    check(
        with(|zone| zone.links[0].path_length = Some(4.9)),
        "shorter than the 5.00 m",
    );
    check(
        with(|zone| zone.links[0].path_length = Some(-1.0)),
        "path_length_m",
    );
    check(
        with(|zone| zone.links[0].receiver = String::new()),
        "receiver",
    );
    check(
        with(|zone| {
            zone.shape = Some(Shape::Box {
                corner: Point::default(),
                width: 0.0,
                depth: 1.0,
                height: 1.0,
            });
        }),
        "width_m",
    );
}
