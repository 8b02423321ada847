//! `ZoneService`.

use std::sync::Arc;

use events::{Name, Timestamp};
use proto::gateway::v1 as pb;
use proto::gateway::v1::zone_service_server::ZoneService;
use runtime::invalid_argument;
use tokio::sync::broadcast::error::RecvError;
use tonic::{Request, Response, Status};

use super::{BoxStream, Reply, async_stream, page_items, parse_name, time};
use crate::error::Error;
use crate::zone::store::{Kept, Zones};
use crate::zone::{Link, Placement, Point, Shape, Zone};

pub(super) struct ZoneApi {
    pub zones: Arc<Zones>,
}

const PATHS: [&str; 5] = ["display_name", "floor", "shape", "placements", "links"];

#[tonic::async_trait]
impl ZoneService for ZoneApi {
    async fn create_zone(
        &self,
        request: Request<pb::CreateZoneRequest>,
    ) -> Reply<pb::CreateZoneResponse> {
        let pb::CreateZoneRequest {
            zone,
            request_id,
            validate_only,
        } = request.into_inner();
        let zone = zone.ok_or_else(|| invalid_argument("zone", "is missing"))?;
        let name = parse_name("zone.name", &zone.name)?;
        let zone = Zone {
            request_id,
            ..read(zone)
        };
        let kept = self.zones.create(&name, zone, validate_only).await?;
        Ok(Response::new(pb::CreateZoneResponse {
            zone: Some(render(&self.zones, &name, kept)),
        }))
    }

    async fn get_zone(&self, request: Request<pb::GetZoneRequest>) -> Reply<pb::GetZoneResponse> {
        let name = parse_name("name", &request.into_inner().name)?;
        let kept = self.zones.get(&name).await?;
        Ok(Response::new(pb::GetZoneResponse {
            zone: Some(render(&self.zones, &name, kept)),
        }))
    }

    async fn list_zones(
        &self,
        request: Request<pb::ListZonesRequest>,
    ) -> Reply<pb::ListZonesResponse> {
        let pb::ListZonesRequest {
            page_size,
            page_token,
        } = request.into_inner();
        let size = page_items(page_size)?;
        let names = self.zones.names().await?;
        let mut rest = names
            .into_iter()
            .filter(|name| name.as_str() > page_token.as_str())
            .peekable();
        let mut zones = Vec::new();
        for name in rest.by_ref().take(size) {
            match self.zones.get(&name).await {
                Ok(kept) => zones.push(render(&self.zones, &name, kept)),
                Err(Error::NotFound { .. }) => {} // deleted meanwhile
                Err(error) => return Err(error.into()),
            }
        }
        let last = zones.last().map(|zone| zone.name.clone());
        let next_page_token = rest.peek().and(last).unwrap_or_default();
        Ok(Response::new(pb::ListZonesResponse {
            zones,
            next_page_token,
        }))
    }

    async fn update_zone(
        &self,
        request: Request<pb::UpdateZoneRequest>,
    ) -> Reply<pb::UpdateZoneResponse> {
        let pb::UpdateZoneRequest {
            zone,
            update_mask,
            validate_only,
        } = request.into_inner();
        let zone = zone.ok_or_else(|| invalid_argument("zone", "is missing"))?;
        let name = parse_name("zone.name", &zone.name)?;
        let etag = zone.etag.clone();
        let new = read(zone);
        let mut paths = update_mask.map(|mask| mask.paths).unwrap_or_default();
        if let Some(path) = paths
            .iter()
            .find(|path| *path != "*" && !PATHS.contains(&path.as_str()))
        {
            return Err(invalid_argument(
                "update_mask",
                format!("{path:?} cannot be changed; {} can", PATHS.join(", ")),
            ));
        }
        if paths.is_empty() {
            // AIP-134: without a mask, the fields that are set.
            let set = [
                !new.display_name.is_empty(),
                new.floor != 0,
                new.shape.is_some(),
                !new.placements.is_empty(),
                !new.links.is_empty(),
            ];
            let named = PATHS.iter().zip(set).filter(|(_, set)| *set);
            paths = named.map(|(path, _)| (*path).to_owned()).collect();
        }
        let named = |path: &str| paths.iter().any(|p| p == path || p == "*");
        let edit = |zone: &mut Zone| {
            if named("display_name") {
                zone.display_name.clone_from(&new.display_name);
            }
            if named("floor") {
                zone.floor = new.floor;
            }
            if named("shape") {
                zone.shape.clone_from(&new.shape);
            }
            if named("placements") {
                zone.placements.clone_from(&new.placements);
            }
            if named("links") {
                zone.links.clone_from(&new.links);
            }
            Ok(())
        };
        let kept = self.zones.update(&name, &etag, validate_only, edit).await?;
        Ok(Response::new(pb::UpdateZoneResponse {
            zone: Some(render(&self.zones, &name, kept)),
        }))
    }

    async fn delete_zone(
        &self,
        request: Request<pb::DeleteZoneRequest>,
    ) -> Reply<pb::DeleteZoneResponse> {
        let pb::DeleteZoneRequest { name, etag } = request.into_inner();
        let name = parse_name("name", &name)?;
        self.zones.delete(&name, &etag).await?;
        Ok(Response::new(pb::DeleteZoneResponse {}))
    }

    type WatchZonesStream = BoxStream<pb::WatchZonesResponse>;

    async fn watch_zones(
        &self,
        request: Request<pb::WatchZonesRequest>,
    ) -> Reply<Self::WatchZonesStream> {
        let only = match &*request.into_inner().name {
            "" => None,
            name => Some(parse_name("name", name)?),
        };
        // Subscribed before the list is read, so that no change falls between.
        let mut changes = self.zones.changes();
        let zones = Arc::clone(&self.zones);
        let mut names = zones.names().await?;
        let stream = async_stream(move |sender| async move {
            loop {
                for name in names.drain(..) {
                    if only.as_ref().is_some_and(|only| *only != name) {
                        continue;
                    }
                    let answer = answer(&zones, &name).await;
                    let failed = answer.is_err();
                    if sender.send(answer).await.is_err() || failed {
                        return;
                    }
                }
                tokio::select! {
                    () = sender.closed() => return,
                    change = changes.recv() => match change {
                        Ok(name) => names.push(name),
                        Err(RecvError::Lagged(_)) => match zones.names().await {
                            Ok(all) => names = all,
                            Err(error) => {
                                // The client may be gone, which is as well.
                                let _ = sender.send(Err(error.into())).await;
                                return;
                            }
                        },
                        Err(RecvError::Closed) => return,
                    },
                }
            }
        });
        Ok(Response::new(stream))
    }
}

async fn answer(zones: &Zones, name: &Name) -> Result<pb::WatchZonesResponse, Status> {
    match zones.get(name).await {
        Ok(kept) => Ok(pb::WatchZonesResponse {
            zone: Some(render(zones, name, kept)),
            deleted: false,
        }),
        Err(Error::NotFound { .. }) => Ok(pb::WatchZonesResponse {
            zone: Some(pb::Zone {
                name: name.to_string(),
                ..pb::Zone::default()
            }),
            deleted: true,
        }),
        Err(error) => Err(error.into()),
    }
}

fn point(point: Option<pb::Point>) -> Point {
    let pb::Point { x_m, y_m, z_m } = point.unwrap_or_default();
    Point {
        x: x_m,
        y: y_m,
        z: z_m,
    }
}

fn render_point(point: Point) -> pb::Point {
    pb::Point {
        x_m: point.x,
        y_m: point.y,
        z_m: point.z,
    }
}

fn read(zone: pb::Zone) -> Zone {
    let shape = zone.shape.map(|shape| match shape {
        pb::zone::Shape::Box(found) => Shape::Box {
            corner: point(found.corner),
            width: found.width_m,
            depth: found.depth_m,
            height: found.height_m,
        },
        pb::zone::Shape::Polygon(polygon) => Shape::Polygon {
            points: polygon.points.into_iter().map(|p| point(Some(p))).collect(),
            height: polygon.height_m,
        },
    });
    let placements = zone.placements.into_iter().map(|placement| Placement {
        name: placement.name,
        position: point(placement.position),
    });
    let links = zone.links.into_iter().map(|link| Link {
        transmitter: link.transmitter,
        receiver: link.receiver,
        // What followed from the placements is made anew.
        path_length: link
            .path_length_m
            .filter(|_| !link.path_length_from_placements),
    });
    Zone {
        display_name: zone.display_name,
        floor: zone.floor,
        shape,
        placements: placements.collect(),
        links: links.collect(),
        request_id: String::new(),
        created: Timestamp::default(),
        updated: Timestamp::default(),
    }
}

fn render(zones: &Zones, name: &Name, (zone, revision): Kept) -> pb::Zone {
    let shape = zone.shape.as_ref().map(|shape| match shape {
        Shape::Box {
            corner,
            width,
            depth,
            height,
        } => pb::zone::Shape::Box(pb::Box {
            corner: Some(render_point(*corner)),
            width_m: *width,
            depth_m: *depth,
            height_m: *height,
        }),
        Shape::Polygon { points, height } => pb::zone::Shape::Polygon(pb::Polygon {
            points: points.iter().copied().map(render_point).collect(),
            height_m: *height,
        }),
    });
    let links = zone.links.iter().map(|link| {
        let derived = zone.distance(link).filter(|_| link.path_length.is_none());
        pb::Link {
            transmitter: link.transmitter.clone(),
            receiver: link.receiver.clone(),
            path_length_m: link.path_length.or(derived),
            path_length_from_placements: derived.is_some(),
        }
    });
    let placements = zone.placements.iter().map(|placement| pb::Placement {
        name: placement.name.clone(),
        position: Some(render_point(placement.position)),
    });
    pb::Zone {
        name: name.to_string(),
        display_name: zone.display_name.clone(),
        floor: zone.floor,
        shape,
        placements: placements.collect(),
        links: links.collect(),
        etag: revision.to_string(),
        create_time: Some(time(zone.created)),
        update_time: Some(time(zone.updated)),
        area_m2: zone.area(),
        devices: zones.devices_in(name),
    }
}
