//! `fresnel devices top`: a live view of the devices, or the same once as text.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use proto::gateway::v1::device_service_client::DeviceServiceClient;
use proto::gateway::v1::{Device, HealthStatus};
use proto::signal::v1::ListZoneStatesRequest;
use proto::signal::v1::signal_service_client::SignalServiceClient;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table, TableState, Wrap};
use tokio::sync::mpsc;
use tonic::transport::Channel;

use super::list;
use super::show::{device_json, health, state};
use crate::client::{Address, SIGNAL, print_line, printable};
use crate::show::{dash, table};
use crate::zones::word;

const COLUMNS: [&str; 10] = [
    "DEVICE", "ZONE", "MOTION", "STATE", "HEALTH", "RATE", "LOSS", "JITTER", "RSSI", "SNR",
];
const WIDTHS: [u16; 10] = [16, 12, 8, 12, 10, 12, 7, 9, 8, 7];
/// How soon a key is noticed, and how soon the reader of keys ends.
const KEYS: Duration = Duration::from_millis(100);

/// What is shown.
#[derive(Default)]
struct Look {
    devices: Vec<Device>,
    /// Motion of each zone; empty where the signal service does not answer.
    motion: BTreeMap<String, &'static str>,
    /// Why there is nothing new.
    problem: Option<String>,
}

enum Key {
    Up,
    Down,
    Quit,
}

/// Runs it.
///
/// # Errors
/// Where the gateway does not answer at first, or the terminal fails.
pub async fn run(
    devices: &mut DeviceServiceClient<Channel>,
    once: bool,
    interval: f64,
    json: bool,
) -> anyhow::Result<()> {
    let interval = Duration::try_from_secs_f64(interval)
        .ok()
        .filter(|interval| !interval.is_zero())
        .with_context(|| format!("--interval {interval}: must be a positive number of seconds"))?;
    let signal = SIGNAL.connect(&Address::default()).await.ok();
    let mut signal = signal.map(SignalServiceClient::new);
    let first = look(devices, signal.as_mut()).await?;
    if once || json || !std::io::stdout().is_terminal() {
        return text(&first, json);
    }
    let mut terminal = ratatui::try_init().context("the terminal cannot be taken")?;
    let shown = live(&mut terminal, devices, signal, first, interval).await;
    ratatui::try_restore().context("the terminal cannot be given back")?;
    shown
}

async fn live(
    terminal: &mut ratatui::DefaultTerminal,
    devices: &mut DeviceServiceClient<Channel>,
    mut signal: Option<Signal>,
    mut look_now: Look,
    interval: Duration,
) -> anyhow::Result<()> {
    let (sender, mut keys) = mpsc::channel(16);
    std::thread::spawn(move || read_keys(&sender));
    let mut selected = TableState::default().with_selected(Some(0));
    let mut tick = tokio::time::interval(interval);
    loop {
        terminal.draw(|frame| draw(frame, &look_now, &mut selected))?;
        tokio::select! {
            key = keys.recv() => match key {
                Some(Key::Up) => selected.select_previous(),
                Some(Key::Down) => selected.select_next(),
                Some(Key::Quit) | None => return Ok(()),
            },
            _ = tick.tick() => {
                if signal.is_none() {
                    signal = SIGNAL.connect(&Address::default()).await.ok().map(SignalServiceClient::new);
                }
                match look(devices, signal.as_mut()).await {
                    Ok(new) => look_now = new,
                    Err(error) => look_now.problem = Some(format!("{error:#}")),
                }
            }
        }
    }
}

type Signal = SignalServiceClient<Channel>;

/// Ends when nobody listens any more, or the terminal is gone.
fn read_keys(sender: &mpsc::Sender<Key>) {
    while !sender.is_closed() {
        match event::poll(KEYS) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(_) => return,
        }
        let Ok(read) = event::read() else { return };
        let Event::Key(key) = read else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        let key = match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
            KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
            KeyCode::Up | KeyCode::Char('k') => Key::Up,
            KeyCode::Down | KeyCode::Char('j') => Key::Down,
            _ => continue,
        };
        if sender.blocking_send(key).is_err() {
            return;
        }
    }
}

async fn look(
    devices: &mut DeviceServiceClient<Channel>,
    signal: Option<&mut Signal>,
) -> anyhow::Result<Look> {
    let devices = list(devices, String::new()).await?;
    let mut motion = BTreeMap::new();
    if let Some(signal) = signal {
        let request = ListZoneStatesRequest {
            page_size: 1000,
            ..ListZoneStatesRequest::default()
        };
        // Motion is an extra: without it the view still tells how the devices are heard.
        if let Ok(answer) = signal.list_zone_states(request).await {
            for state in answer.into_inner().states {
                motion.insert(state.zone.clone(), word(state.state()));
            }
        }
    }
    Ok(Look {
        devices,
        motion,
        problem: None,
    })
}

fn cells(device: &Device, motion: &BTreeMap<String, &'static str>) -> [String; 10] {
    let number = |value: Option<f32>, unit: &str, digits: usize| {
        value.map_or_else(dash, |value| format!("{value:.digits$}{unit}"))
    };
    let heard = matches!(state(device), "active" | "degraded" | "maintenance");
    let rate = match (
        device.frame_rate_hz.filter(|_| heard),
        device.expected_rate_hz,
    ) {
        (Some(rate), Some(expected)) => format!("{rate:.1}/{expected:.0} Hz"),
        (Some(rate), None) => format!("{rate:.1} Hz"),
        (None, Some(expected)) => format!("-/{expected:.0} Hz"),
        (None, None) => dash(),
    };
    [
        printable(&device.name),
        printable(&device.zone),
        motion.get(&device.zone).copied().unwrap_or("-").to_owned(),
        state(device).to_owned(),
        health(device.health()).to_owned(),
        rate,
        number(device.loss.map(|loss| 100.0 * loss), " %", 1),
        number(device.jitter_ms, " ms", 1),
        number(device.rssi_dbm.filter(|_| heard), " dBm", 0),
        number(device.snr_db, " dB", 0),
    ]
}

fn text(look: &Look, json: bool) -> anyhow::Result<()> {
    if json {
        for device in &look.devices {
            let mut object = device_json(device);
            if let (Some(fields), Some(motion)) =
                (object.as_object_mut(), look.motion.get(&device.zone))
            {
                fields.insert("motion".to_owned(), (*motion).into());
            }
            print_line(&object.to_string())?;
        }
        return Ok(());
    }
    if look.devices.is_empty() {
        eprintln!("no device is registered; see `fresnel devices discovered`");
        return Ok(());
    }
    let mut shown = table(COLUMNS);
    for device in &look.devices {
        shown.add_row(cells(device, &look.motion));
    }
    print_line(&shown.to_string())?;
    for device in &look.devices {
        for cause in &device.causes {
            print_line(&printable(&format!("{}: {}", device.name, cause.action)))?;
        }
    }
    Ok(())
}

fn colour(status: HealthStatus) -> Color {
    match status {
        HealthStatus::Unspecified => Color::DarkGray,
        HealthStatus::Healthy => Color::Green,
        HealthStatus::Degraded => Color::Yellow,
        HealthStatus::Unhealthy | HealthStatus::Offline => Color::Red,
    }
}

fn draw(frame: &mut Frame, look: &Look, selected: &mut TableState) {
    let areas = Layout::vertical([Constraint::Min(3), Constraint::Length(8)]);
    let [above, below] = areas.areas(frame.area());
    let rows = look.devices.iter().map(|device| {
        let style = Style::new().fg(colour(device.health()));
        let cells = cells(device, &look.motion).into_iter().enumerate();
        Row::new(cells.map(|(column, text)| {
            let cell = Cell::from(text);
            if (3..5).contains(&column) {
                cell.style(style)
            } else {
                cell
            }
        }))
    });
    let title = format!(" {} devices ", look.devices.len());
    let view = Table::new(rows, WIDTHS)
        .header(Row::new(COLUMNS).bold())
        .row_highlight_style(Style::new().reversed())
        .block(
            Block::bordered()
                .title(title)
                .title_bottom(" up, down: choose   q: quit "),
        );
    frame.render_stateful_widget(view, above, selected);
    let device = selected.selected().and_then(|row| {
        look.devices
            .get(row.min(look.devices.len().saturating_sub(1)))
    });
    let mut lines: Vec<Line> = Vec::new();
    if let Some(problem) = &look.problem {
        lines.push(Line::from(printable(problem)).red());
    }
    match device {
        None => lines.push(Line::from(
            "no device is registered; see `fresnel devices discovered`",
        )),
        Some(device) => {
            for cause in &device.causes {
                let line = Line::from(printable(&cause.action));
                lines.push(line.style(Style::new().fg(colour(cause.severity()))));
            }
            if device.causes.is_empty() {
                lines.push(Line::from("nothing is wrong that is measured"));
            }
        }
    }
    let title = device.map_or_else(String::new, |device| {
        format!(" {} ", printable(&device.name))
    });
    let details = Paragraph::new(lines)
        .wrap(Wrap { trim: true })
        .block(Block::bordered().title(title));
    frame.render_widget(details, below);
}
