//! `fresnel devices`: the gateway's registry.

use std::process::ExitCode;

use clap::Subcommand;
use comfy_table::{Table, presets};
use proto::gateway::v1::device_service_client::DeviceServiceClient;
use proto::gateway::v1::{
    CreateDeviceRequest, DeleteDeviceRequest, Device, DeviceState, DiscoveredDevice,
    GetDeviceRequest, ListDevicesRequest, ListDiscoveredDevicesRequest, UpdateDeviceRequest,
    WatchDevicesRequest,
};
use serde_json::{Value, json};
use tonic::transport::Channel;
use uuid::Uuid;

use crate::client::{self, Address, GATEWAY, print_line, printable, refusal};

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    address: Address,
    /// JSON, one object per line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Action {
    /// All devices.
    List {
        /// Only those of this zone.
        #[arg(long)]
        zone: Option<String>,
    },
    /// One device.
    Get {
        /// Its name.
        name: String,
    },
    /// Register a device.
    Create {
        /// A DNS label, for example `hall-1`; it becomes part of the events' subjects.
        name: String,
        /// The zone that it observes.
        #[arg(long)]
        zone: String,
        /// What identifies the sender: its MAC address, or `adr018:NODE`.
        #[arg(long, default_value = "")]
        hardware_id: String,
        /// esp32-adr018, esp32-csv or recording.
        #[arg(long = "type", value_name = "TYPE", default_value = "")]
        device_type: String,
        /// Only check whether it could be created.
        #[arg(long)]
        validate_only: bool,
    },
    /// Change a device; what is not named stays.
    Update {
        /// Its name.
        name: String,
        /// Its new zone.
        #[arg(long)]
        zone: Option<String>,
        /// What identifies the sender from now on.
        #[arg(long)]
        hardware_id: Option<String>,
        /// Its new type.
        #[arg(long = "type", value_name = "TYPE")]
        device_type: Option<String>,
        /// Only if this is still its etag.
        #[arg(long, default_value = "")]
        etag: String,
        /// Only check whether it could be changed.
        #[arg(long)]
        validate_only: bool,
    },
    /// Remove a device.
    Delete {
        /// Its name.
        name: String,
        /// Only if this is still its etag.
        #[arg(long, default_value = "")]
        etag: String,
    },
    /// The devices as they are, then each change.
    Watch {
        /// Only this one.
        name: Option<String>,
    },
    /// Senders that were heard and are not registered.
    Discovered,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    client::block_on(async move {
        let mut devices = DeviceServiceClient::new(GATEWAY.connect(&args.address).await?);
        act(&mut devices, args.action, args.json)
            .await
            .map(|()| ExitCode::SUCCESS)
    })
}

async fn act(
    devices: &mut DeviceServiceClient<Channel>,
    action: Action,
    json: bool,
) -> anyhow::Result<()> {
    match action {
        Action::List { zone } => {
            let all = list(devices, zone.unwrap_or_default()).await?;
            show_all(
                &all,
                json,
                device_json,
                device_table,
                "no device is registered; see `fresnel devices discovered`",
            )
        }
        Action::Discovered => {
            let all = discovered(devices).await?;
            show_all(
                &all,
                json,
                discovered_json,
                discovered_table,
                "no unregistered sender was heard",
            )
        }
        Action::Get { name } => {
            let answer = devices
                .get_device(GetDeviceRequest { name })
                .await
                .map_err(|s| refusal(&s))?;
            show(answer.into_inner().device, json)
        }
        Action::Create {
            name,
            zone,
            hardware_id,
            device_type,
            validate_only,
        } => {
            let request = CreateDeviceRequest {
                device: Some(Device {
                    name,
                    zone,
                    hardware_id,
                    device_type,
                    ..Device::default()
                }),
                request_id: Uuid::new_v4().to_string(),
                validate_only,
            };
            let answer = devices
                .create_device(request)
                .await
                .map_err(|s| refusal(&s))?;
            show(answer.into_inner().device, json)
        }
        Action::Update {
            name,
            zone,
            hardware_id,
            device_type,
            etag,
            validate_only,
        } => {
            let given = [
                ("zone", &zone),
                ("hardware_id", &hardware_id),
                ("device_type", &device_type),
            ];
            let paths: Vec<String> = given
                .iter()
                .filter(|(_, value)| value.is_some())
                .map(|(path, _)| (*path).to_owned())
                .collect();
            if paths.is_empty() {
                anyhow::bail!("nothing to change; give --zone, --hardware-id or --type");
            }
            let request = UpdateDeviceRequest {
                device: Some(Device {
                    name,
                    zone: zone.unwrap_or_default(),
                    hardware_id: hardware_id.unwrap_or_default(),
                    device_type: device_type.unwrap_or_default(),
                    etag,
                    ..Device::default()
                }),
                update_mask: Some(prost_types::FieldMask { paths }),
                validate_only,
            };
            let answer = devices
                .update_device(request)
                .await
                .map_err(|s| refusal(&s))?;
            show(answer.into_inner().device, json)
        }
        Action::Delete { name, etag } => {
            let request = DeleteDeviceRequest {
                name: name.clone(),
                etag,
            };
            devices
                .delete_device(request)
                .await
                .map_err(|s| refusal(&s))?;
            if !json {
                print_line(&format!("{name} is removed"))?;
            }
            Ok(())
        }
        Action::Watch { name } => watch(devices, name.unwrap_or_default(), json).await,
    }
}

async fn list(
    devices: &mut DeviceServiceClient<Channel>,
    zone: String,
) -> anyhow::Result<Vec<Device>> {
    let mut request = ListDevicesRequest {
        zone,
        ..ListDevicesRequest::default()
    };
    let mut all = Vec::new();
    loop {
        let page = devices
            .list_devices(request.clone())
            .await
            .map_err(|s| refusal(&s))?
            .into_inner();
        all.extend(page.devices);
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        request.page_token = page.next_page_token;
    }
}

async fn discovered(
    devices: &mut DeviceServiceClient<Channel>,
) -> anyhow::Result<Vec<DiscoveredDevice>> {
    let mut request = ListDiscoveredDevicesRequest::default();
    let mut all = Vec::new();
    loop {
        let page = devices
            .list_discovered_devices(request.clone())
            .await
            .map_err(|s| refusal(&s))?
            .into_inner();
        all.extend(page.devices);
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        request.page_token = page.next_page_token;
    }
}

async fn watch(
    devices: &mut DeviceServiceClient<Channel>,
    name: String,
    json: bool,
) -> anyhow::Result<()> {
    let mut changes = devices
        .watch_devices(WatchDevicesRequest { name })
        .await
        .map_err(|s| refusal(&s))?
        .into_inner();
    while let Some(change) = changes.message().await.map_err(|s| refusal(&s))? {
        let Some(device) = change.device else {
            continue;
        };
        if json {
            print_line(
                &json!({"deleted": change.deleted, "device": device_json(&device)}).to_string(),
            )?;
        } else if change.deleted {
            print_line(&format!("{}  removed", printable(&device.name)))?;
        } else {
            let mut line = format!("{}  zone {}  {}", device.name, device.zone, state(&device));
            if let Some(rate) = device.frame_rate_hz {
                line.push_str(&format!("  {rate:.1} Hz"));
            }
            line.push_str(&format!(
                "  {} frames, {} lost",
                device.frames_received, device.frames_lost
            ));
            print_line(&printable(&line))?;
        }
    }
    Ok(())
}

fn show(device: Option<Device>, json: bool) -> anyhow::Result<()> {
    let device = device.ok_or_else(|| anyhow::anyhow!("the gateway answered without a device"))?;
    if json {
        print_line(&device_json(&device).to_string())?;
        return Ok(());
    }
    if let Value::Object(fields) = device_json(&device) {
        for (field, value) in fields {
            let value = value.as_str().map_or_else(|| value.to_string(), printable);
            print_line(&format!("{field:<18} {value}"))?;
        }
    }
    Ok(())
}

fn show_all<T>(
    all: &[T],
    json: bool,
    to_json: fn(&T) -> Value,
    to_table: fn(&[T]) -> Table,
    none: &str,
) -> anyhow::Result<()> {
    if json {
        for one in all {
            print_line(&to_json(one).to_string())?;
        }
    } else if all.is_empty() {
        eprintln!("{none}");
    } else {
        print_line(&to_table(all).to_string())?;
    }
    Ok(())
}

fn device_table(devices: &[Device]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "NAME",
        "ZONE",
        "STATE",
        "TYPE",
        "SENDER",
        "RATE",
        "RSSI",
        "FRAMES",
        "LOST",
        "MALFORMED",
        "LAST FRAME",
    ]);
    for device in devices {
        table.add_row([
            printable(&device.name),
            printable(&device.zone),
            state(device).to_owned(),
            or_dash(printable(&device.device_type)),
            or_dash(printable(&device.hardware_id)),
            device
                .frame_rate_hz
                .map_or_else(dash, |rate| format!("{rate:.1} Hz")),
            device
                .rssi_dbm
                .map_or_else(dash, |rssi| format!("{rssi:.0} dBm")),
            device.frames_received.to_string(),
            device.frames_lost.to_string(),
            device.frames_malformed.to_string(),
            device.last_frame_time.as_ref().map_or_else(dash, time),
        ]);
    }
    table
}

fn discovered_table(devices: &[DiscoveredDevice]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "SENDER",
        "ADDRESS",
        "TYPE",
        "FRAMES",
        "FIRST SEEN",
        "LAST SEEN",
    ]);
    for device in devices {
        table.add_row([
            printable(&device.hardware_id),
            or_dash(printable(&device.ip_address)),
            or_dash(printable(&device.device_type)),
            device.frames.to_string(),
            device.first_seen.as_ref().map_or_else(dash, time),
            device.last_seen.as_ref().map_or_else(dash, time),
        ]);
    }
    table
}

fn device_json(device: &Device) -> Value {
    without_nulls(json!({
        "name": device.name,
        "zone": device.zone,
        "hardware_id": device.hardware_id,
        "device_type": device.device_type,
        "state": state(device),
        "etag": device.etag,
        "create_time": device.create_time.as_ref().map(time),
        "update_time": device.update_time.as_ref().map(time),
        "connect_time": device.connect_time.as_ref().map(time),
        "last_frame_time": device.last_frame_time.as_ref().map(time),
        "frames_received": device.frames_received,
        "frames_lost": device.frames_lost,
        "frames_malformed": device.frames_malformed,
        "frame_rate_hz": device.frame_rate_hz,
        "rssi_dbm": device.rssi_dbm,
        "subcarriers": device.subcarriers,
        "antennas": device.antennas,
        "channel": device.channel,
        "bandwidth_mhz": device.bandwidth_mhz,
    }))
}

fn discovered_json(device: &DiscoveredDevice) -> Value {
    without_nulls(json!({
        "hardware_id": device.hardware_id,
        "ip_address": device.ip_address,
        "device_type": device.device_type,
        "first_seen": device.first_seen.as_ref().map(time),
        "last_seen": device.last_seen.as_ref().map(time),
        "frames": device.frames,
    }))
}

/// What is absent is left out.
fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, value| !value.is_null());
    }
    value
}

fn state(device: &Device) -> &'static str {
    match device.state() {
        DeviceState::Unspecified => "unknown",
        DeviceState::Provisioning => "provisioning",
        DeviceState::Active => "active",
        DeviceState::Degraded => "degraded",
        DeviceState::Offline => "offline",
        DeviceState::Maintenance => "maintenance",
    }
}

/// RFC 3339, as in the events.
fn time(time: &prost_types::Timestamp) -> String {
    let micros = time
        .seconds
        .saturating_mul(1_000_000)
        .saturating_add(i64::from(time.nanos / 1000));
    events::Timestamp::from_micros(micros).to_string()
}

fn dash() -> String {
    "-".to_owned()
}

fn or_dash(text: String) -> String {
    if text.is_empty() { dash() } else { text }
}
