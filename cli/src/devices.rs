//! `fresnel devices`: the gateway's registry.

pub mod show;
mod top;

use std::process::ExitCode;

use clap::Subcommand;
use proto::gateway::v1::device_service_client::DeviceServiceClient;
use proto::gateway::v1::{
    ConfigureDeviceRequest, CreateDeviceRequest, DeleteDeviceRequest, Device, DeviceConfiguration,
    DiscoveredDevice, EnterMaintenanceRequest, GetDeviceRequest, LeaveMaintenanceRequest,
    ListDevicesRequest, ListDiscoveredDevicesRequest, UpdateDeviceRequest, WatchDevicesRequest,
};
use serde_json::json;
use tonic::transport::Channel;
use uuid::Uuid;

use self::show::{device_json, device_table, discovered_json, discovered_table, state};
use crate::client::{self, Address, GATEWAY, print_line, printable, refusal};
use crate::show::{all as show_all, one};

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
    /// Say how a device is meant to run; where it deviates is reported. What is not named stays.
    Configure {
        /// Its name.
        name: String,
        /// Frames per second.
        #[arg(long, value_name = "HZ")]
        rate: Option<u32>,
        /// Bandwidth in MHz.
        #[arg(long, value_name = "MHZ")]
        bandwidth: Option<u32>,
        /// Channel number.
        #[arg(long)]
        channel: Option<u32>,
        /// Take back `rate`, `bandwidth` or `channel`.
        #[arg(long, value_name = "SETTING", value_parser = ["rate", "bandwidth", "channel"])]
        clear: Vec<String>,
        /// Only if this is still its etag.
        #[arg(long, default_value = "")]
        etag: String,
        /// Only check whether it could be configured.
        #[arg(long)]
        validate_only: bool,
    },
    /// Set a device aside: its frames are counted and not published.
    Maintenance {
        /// Its name.
        name: String,
        /// Take it back.
        #[arg(long)]
        end: bool,
        /// Only if this is still its etag.
        #[arg(long, default_value = "")]
        etag: String,
    },
    /// A live view: rate, loss, jitter, RSSI, SNR, health, and the motion in each device's zone.
    Top {
        /// Once, as text; also where the output is no terminal.
        #[arg(long)]
        once: bool,
        /// Seconds between two looks.
        #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
        interval: f64,
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
        if let Action::Top { once, interval } = args.action {
            top::run(&mut devices, once, interval, args.json).await?;
            return Ok(ExitCode::SUCCESS);
        }
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
            shown(answer.into_inner().device, json)
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
            shown(answer.into_inner().device, json)
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
            shown(answer.into_inner().device, json)
        }
        Action::Configure {
            name,
            rate,
            bandwidth,
            channel,
            clear,
            etag,
            validate_only,
        } => {
            let named = |given: bool, setting: &str| given || clear.iter().any(|c| c == setting);
            let paths = [
                ("sampling_rate_hz", named(rate.is_some(), "rate")),
                ("bandwidth_mhz", named(bandwidth.is_some(), "bandwidth")),
                ("channel", named(channel.is_some(), "channel")),
            ];
            let paths: Vec<String> = paths
                .iter()
                .filter(|(_, named)| *named)
                .map(|(path, _)| (*path).to_owned())
                .collect();
            if paths.is_empty() {
                anyhow::bail!(
                    "nothing to configure; give --rate, --bandwidth, --channel or --clear"
                );
            }
            let request = ConfigureDeviceRequest {
                name,
                configuration: Some(DeviceConfiguration {
                    sampling_rate_hz: rate,
                    bandwidth_mhz: bandwidth,
                    channel,
                    ..DeviceConfiguration::default()
                }),
                update_mask: Some(prost_types::FieldMask { paths }),
                etag,
                validate_only,
                request_id: Uuid::new_v4().to_string(),
            };
            let answer = devices.configure_device(request).await;
            shown(answer.map_err(|s| refusal(&s))?.into_inner().device, json)
        }
        Action::Maintenance { name, end, etag } => {
            let device = if end {
                let request = LeaveMaintenanceRequest {
                    name,
                    etag,
                    validate_only: false,
                };
                let answer = devices.leave_maintenance(request).await;
                answer.map_err(|s| refusal(&s))?.into_inner().device
            } else {
                let request = EnterMaintenanceRequest {
                    name,
                    etag,
                    validate_only: false,
                };
                let answer = devices.enter_maintenance(request).await;
                answer.map_err(|s| refusal(&s))?.into_inner().device
            };
            shown(device, json)
        }
        // Handled before.
        Action::Top { .. } => Ok(()),
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

pub async fn list(
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

fn shown(device: Option<Device>, json: bool) -> anyhow::Result<()> {
    let device = device.ok_or_else(|| anyhow::anyhow!("the gateway answered without a device"))?;
    one(&device_json(&device), json)
}
