use proto::gateway::v1 as pb;
use tonic::Code;

use crate::sandbox::{Sandbox, reason, within};

fn point(x_m: f64, y_m: f64, z_m: f64) -> Option<pb::Point> {
    Some(pb::Point { x_m, y_m, z_m })
}

fn hall() -> pb::Zone {
    let place = |name: &str, position| pb::Placement {
        name: name.into(),
        position,
    };
    pb::Zone {
        name: "hall".into(),
        floor: 1,
        shape: Some(pb::zone::Shape::Box(pb::Box {
            corner: point(0.0, 0.0, 0.0),
            width_m: 4.0,
            depth_m: 3.0,
            height_m: 2.5,
        })),
        placements: vec![
            place("ap", point(0.0, 0.0, 1.0)),
            place("lamp", point(4.0, 3.0, 1.0)),
        ],
        links: vec![pb::Link {
            transmitter: "ap".into(),
            receiver: "lamp".into(),
            ..pb::Link::default()
        }],
        ..pb::Zone::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_from_its_creation_to_its_end() {
    let mut sandbox = Sandbox::start().await;
    let mut zones = sandbox.zones.clone();
    let request = pb::WatchZonesRequest::default();
    let mut watch = zones.watch_zones(request).await.unwrap().into_inner();
    let create = pb::CreateZoneRequest {
        zone: Some(hall()),
        request_id: "once".into(),
        validate_only: true,
    };
    zones.create_zone(create.clone()).await.unwrap();
    let missing = zones
        .get_zone(pb::GetZoneRequest {
            name: "hall".into(),
        })
        .await
        .unwrap_err();
    assert_eq!(missing.code(), Code::NotFound, "only checked");
    let create = pb::CreateZoneRequest {
        validate_only: false,
        ..create
    };
    let zone = zones.create_zone(create.clone()).await.unwrap();
    let zone = zone.into_inner().zone.unwrap();
    assert_eq!(zone.area_m2, Some(12.0));
    assert_eq!(
        (
            zone.links[0].path_length_m,
            zone.links[0].path_length_from_placements
        ),
        (Some(5.0), true)
    );
    let again = zones.create_zone(create.clone()).await.unwrap();
    assert_eq!(again.into_inner().zone.unwrap(), zone, "once");
    let taken = zones
        .create_zone(pb::CreateZoneRequest {
            request_id: "other".into(),
            ..create
        })
        .await
        .unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    let seen = within("the zone", watch.message()).await.unwrap().unwrap();
    assert_eq!(seen.zone.unwrap(), zone);

    // What was answered can be sent back: the derived path length moves with the placement.
    let mut moved = zone.clone();
    moved.placements[1].position = point(3.0, 4.0, 1.0);
    moved.placements[0].position = point(0.0, 4.0, 1.0);
    let update = pb::UpdateZoneRequest {
        zone: Some(moved),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["placements".into(), "links".into()],
        }),
        validate_only: false,
    };
    let updated = zones.update_zone(update.clone()).await.unwrap();
    let updated = updated.into_inner().zone.unwrap();
    assert_eq!(updated.links[0].path_length_m, Some(3.0));
    assert_ne!(updated.etag, zone.etag);
    let stale = zones.update_zone(update).await.unwrap_err();
    assert_eq!(
        (stale.code(), reason(&stale).as_str()),
        (Code::Aborted, "ETAG_MISMATCH")
    );
    let mut crossed = updated.clone();
    crossed.shape = Some(pb::zone::Shape::Polygon(pb::Polygon {
        points: [(0.0, 0.0), (4.0, 4.0), (4.0, 0.0), (0.0, 3.0)]
            .into_iter()
            .filter_map(|(x, y)| point(x, y, 0.0))
            .collect(),
        height_m: 2.5,
    }));
    let refused = zones
        .update_zone(pb::UpdateZoneRequest {
            zone: Some(crossed),
            ..pb::UpdateZoneRequest::default()
        })
        .await
        .unwrap_err();
    assert!(
        refused.code() == Code::InvalidArgument && refused.message().contains("crosses"),
        "{refused}"
    );

    sandbox.create("lamp", "hall", "adr018:7").await;
    sandbox.restart().await;
    let mut zones = sandbox.zones.clone();
    let listed = zones
        .list_zones(pb::ListZonesRequest::default())
        .await
        .unwrap()
        .into_inner()
        .zones;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].devices, ["lamp"]);
    let delete = pb::DeleteZoneRequest {
        name: "hall".into(),
        etag: String::new(),
    };
    let refused = zones.delete_zone(delete.clone()).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "ZONE_HAS_DEVICES")
    );
    assert!(refused.message().contains("lamp"), "{refused}");
    let request = pb::DeleteDeviceRequest {
        name: "lamp".into(),
        etag: String::new(),
    };
    sandbox.devices.delete_device(request).await.unwrap();
    let mut watch = zones
        .watch_zones(pb::WatchZonesRequest {
            name: "hall".into(),
        })
        .await
        .unwrap()
        .into_inner();
    within("the zone", watch.message()).await.unwrap().unwrap();
    zones.delete_zone(delete).await.unwrap();
    let gone = within("the end", watch.message()).await.unwrap().unwrap();
    assert!(gone.deleted);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_come_in_pages() {
    let sandbox = Sandbox::start().await;
    let mut zones = sandbox.zones.clone();
    for name in ["attic", "cellar", "hall"] {
        let request = pb::CreateZoneRequest {
            zone: Some(pb::Zone {
                name: name.into(),
                ..pb::Zone::default()
            }),
            ..pb::CreateZoneRequest::default()
        };
        zones.create_zone(request).await.unwrap();
    }
    let mut names = Vec::new();
    let mut request = pb::ListZonesRequest {
        page_size: 2,
        ..pb::ListZonesRequest::default()
    };
    let mut pages = 0;
    loop {
        let page = zones
            .list_zones(request.clone())
            .await
            .unwrap()
            .into_inner();
        names.extend(page.zones.into_iter().map(|zone| zone.name));
        pages += 1;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!((names.join(" "), pages), ("attic cellar hall".into(), 2));
    sandbox.stop().await;
}
