//! Where zones lie: the gateway's ZoneService.

use comfy_table::Table;
use proto::gateway::v1::zone_service_client::ZoneServiceClient;
use proto::gateway::v1::{
    Box as UprightBox, CreateZoneRequest, DeleteZoneRequest, GetZoneRequest, Link,
    ListZonesRequest, Placement, Point, Polygon, UpdateZoneRequest, Zone, zone,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{Address, GATEWAY, print_line, printable, refusal};
use crate::show::{self, dash, or_dash, table, without_nulls};

/// What is drawn.
#[derive(clap::Args)]
pub struct Draw {
    /// A DNS label, for example `hall`; it becomes part of the events' subjects.
    name: String,
    /// For people.
    #[arg(long)]
    display_name: Option<String>,
    /// 0 is the ground floor.
    #[arg(long, allow_hyphen_values = true)]
    floor: Option<i32>,
    /// Width, depth and height in metres, `4x3x2.5`; a corner is the origin.
    #[arg(long = "box", value_name = "WxDxH", value_parser = lengths, conflicts_with = "polygon")]
    upright: Option<[f64; 3]>,
    /// The outline's corners in metres, `0,0 4,0 4,3 0,3`.
    #[arg(long, value_name = "\"X,Y X,Y ...\"", value_parser = corners)]
    polygon: Option<Corners>,
    /// Height of the polygon in metres.
    #[arg(long, value_name = "METRES", default_value_t = 2.5)]
    height: f64,
    /// What stands where, `lamp=4,3,1`; may be given often.
    #[arg(long, value_name = "NAME=X,Y,Z", value_parser = placement)]
    place: Vec<Placement>,
    /// What the radio crosses, `ap:lamp` or with its length `ap:lamp=5.2`; may be given often.
    #[arg(long, value_name = "FROM:TO[=METRES]", value_parser = link)]
    link: Vec<Link>,
    /// Only if this is still its etag.
    #[arg(long, default_value = "")]
    etag: String,
    /// Only check.
    #[arg(long)]
    validate_only: bool,
}

/// Corners of an outline.
#[derive(Clone, Debug, PartialEq)]
pub struct Corners(Vec<Point>);

/// What is asked of the gateway.
pub enum Action {
    /// One, or all.
    Show(Option<String>),
    /// A new one.
    Create(Draw),
    /// Another drawing.
    Update(Draw),
    /// Name and etag.
    Delete(String, String),
}

/// Runs it.
///
/// # Errors
/// What the gateway refuses.
pub async fn run(action: Action, address: &Address, json: bool) -> anyhow::Result<()> {
    let mut zones = ZoneServiceClient::new(GATEWAY.connect(address).await?);
    let zone = match action {
        Action::Show(None) => {
            let mut request = ListZonesRequest::default();
            let mut all = Vec::new();
            loop {
                let page = zones.list_zones(request.clone()).await;
                let page = page.map_err(|s| refusal(&s))?.into_inner();
                all.extend(page.zones);
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            return show::all(
                &all,
                json,
                object,
                overview,
                "no zone is drawn; see `fresnel zones create`",
            );
        }
        Action::Show(Some(name)) => {
            let answer = zones.get_zone(GetZoneRequest { name }).await;
            answer.map_err(|s| refusal(&s))?.into_inner().zone
        }
        Action::Create(draw) => {
            let request = CreateZoneRequest {
                validate_only: draw.validate_only,
                request_id: Uuid::new_v4().to_string(),
                zone: Some(draw.zone().0),
            };
            let answer = zones.create_zone(request).await;
            answer.map_err(|s| refusal(&s))?.into_inner().zone
        }
        Action::Update(draw) => {
            let validate_only = draw.validate_only;
            let (zone, paths) = draw.zone();
            if paths.is_empty() {
                anyhow::bail!(
                    "nothing to change; give --box, --polygon, --place, --link, --floor or --display-name"
                );
            }
            let request = UpdateZoneRequest {
                zone: Some(zone),
                update_mask: Some(prost_types::FieldMask { paths }),
                validate_only,
            };
            let answer = zones.update_zone(request).await;
            answer.map_err(|s| refusal(&s))?.into_inner().zone
        }
        Action::Delete(name, etag) => {
            let request = DeleteZoneRequest {
                name: name.clone(),
                etag,
            };
            zones.delete_zone(request).await.map_err(|s| refusal(&s))?;
            if !json {
                print_line(&format!("{name} is removed"))?;
            }
            return Ok(());
        }
    };
    let zone = zone.ok_or_else(|| anyhow::anyhow!("the gateway answered without a zone"))?;
    show::one(&object(&zone), json)
}

impl Draw {
    /// The zone, and which of its fields were given.
    fn zone(self) -> (Zone, Vec<String>) {
        let upright = self.upright.map(|[width_m, depth_m, height_m]| {
            zone::Shape::Box(UprightBox {
                corner: Some(Point::default()),
                width_m,
                depth_m,
                height_m,
            })
        });
        let polygon = self.polygon.map(|Corners(points)| {
            zone::Shape::Polygon(Polygon {
                points,
                height_m: self.height,
            })
        });
        let shape = upright.or(polygon);
        let given = [
            ("display_name", self.display_name.is_some()),
            ("floor", self.floor.is_some()),
            ("shape", shape.is_some()),
            ("placements", !self.place.is_empty()),
            ("links", !self.link.is_empty()),
        ];
        let paths = given.iter().filter(|(_, given)| *given);
        let paths = paths.map(|(path, _)| (*path).to_owned()).collect();
        let zone = Zone {
            name: self.name,
            display_name: self.display_name.unwrap_or_default(),
            floor: self.floor.unwrap_or_default(),
            shape,
            placements: self.place,
            links: self.link,
            etag: self.etag,
            ..Zone::default()
        };
        (zone, paths)
    }
}

fn numbers<const N: usize>(text: &str, separator: char) -> Result<[f64; N], String> {
    let parts: Result<Vec<f64>, _> = text
        .split(separator)
        .map(|part| part.trim().parse())
        .collect();
    parts
        .ok()
        .and_then(|parts| parts.try_into().ok())
        .ok_or_else(|| format!("`{text}` must be {N} numbers with `{separator}` between them"))
}

fn lengths(text: &str) -> Result<[f64; 3], String> {
    numbers(text, 'x')
}

fn corners(text: &str) -> Result<Corners, String> {
    let corner = |part: &str| {
        let [x_m, y_m] = numbers(part, ',')?;
        Ok(Point { x_m, y_m, z_m: 0.0 })
    };
    text.split_whitespace()
        .map(corner)
        .collect::<Result<_, String>>()
        .map(Corners)
}

fn placement(text: &str) -> Result<Placement, String> {
    let (name, place) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` must look like lamp=4,3,1"))?;
    let [x_m, y_m, z_m] = numbers(place, ',')?;
    Ok(Placement {
        name: name.to_owned(),
        position: Some(Point { x_m, y_m, z_m }),
    })
}

/// The last colon parts the ends where there is one pair of names; MAC addresses have colons of their own.
fn link(text: &str) -> Result<Link, String> {
    let wrong =
        || format!("`{text}` must look like ap:lamp or ap:lamp=5.2; the receiver has no colon");
    let (ends, path) = match text.split_once('=') {
        Some((ends, path)) => (ends, Some(path.parse().map_err(|_| wrong())?)),
        None => (text, None),
    };
    let (transmitter, receiver) = ends.rsplit_once(':').ok_or_else(wrong)?;
    Ok(Link {
        transmitter: transmitter.to_owned(),
        receiver: receiver.to_owned(),
        path_length_m: path,
        path_length_from_placements: false,
    })
}

fn overview(zones: &[Zone]) -> Table {
    let mut table = table([
        "ZONE", "FLOOR", "AREA", "DEVICES", "PLACED", "LINKS", "NAME",
    ]);
    for zone in zones {
        table.add_row([
            printable(&zone.name),
            zone.floor.to_string(),
            zone.area_m2
                .map_or_else(dash, |area| format!("{area:.1} m2")),
            or_dash(printable(&zone.devices.join(" "))),
            zone.placements.len().to_string(),
            zone.links.len().to_string(),
            or_dash(printable(&zone.display_name)),
        ]);
    }
    table
}

fn object(zone: &Zone) -> Value {
    let point = |point: &Point| json!([point.x_m, point.y_m, point.z_m]);
    let shape = zone.shape.as_ref().map(|shape| match shape {
        zone::Shape::Box(found) => json!({"box": {
            "corner": found.corner.as_ref().map(point),
            "width_m": found.width_m,
            "depth_m": found.depth_m,
            "height_m": found.height_m,
        }}),
        zone::Shape::Polygon(polygon) => json!({"polygon": {
            "points": polygon.points.iter().map(|p| json!([p.x_m, p.y_m])).collect::<Vec<_>>(),
            "height_m": polygon.height_m,
        }}),
    });
    let placements = zone.placements.iter();
    let placements: Vec<Value> = placements
        .map(|placed| json!({"name": placed.name, "position_m": placed.position.as_ref().map(point)}))
        .collect();
    let links = zone.links.iter().map(|link| {
        without_nulls(json!({
            "transmitter": link.transmitter,
            "receiver": link.receiver,
            "path_length_m": link.path_length_m,
            "path_length_from_placements": link.path_length_m.map(|_| link.path_length_from_placements),
        }))
    });
    without_nulls(json!({
        "name": zone.name,
        "display_name": (!zone.display_name.is_empty()).then_some(&zone.display_name),
        "floor": zone.floor,
        "shape": shape,
        "area_m2": zone.area_m2,
        "placements": placements,
        "links": links.collect::<Vec<_>>(),
        "devices": zone.devices,
        "etag": zone.etag,
        "create_time": zone.create_time.as_ref().map(show::time),
        "update_time": zone.update_time.as_ref().map(show::time),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawings_are_read_as_they_are_written() {
        assert_eq!(lengths("4x3x2.5"), Ok([4.0, 3.0, 2.5]));
        assert!(lengths("4x3").is_err());
        assert_eq!(corners("0,0 4,0 4,3").unwrap().0.len(), 3);
        let placed = placement("lamp=4,3,-1").unwrap();
        assert_eq!(
            (placed.name.as_str(), placed.position.unwrap().z_m),
            ("lamp", -1.0)
        );
        let crossed = link("24:0a:c4:12:34:56:lamp=5.2").unwrap();
        assert_eq!(
            (
                &*crossed.transmitter,
                &*crossed.receiver,
                crossed.path_length_m
            ),
            ("24:0a:c4:12:34:56", "lamp", Some(5.2))
        );
        assert!(link("lamp").is_err() && link("a:b=far").is_err());
    }
}
