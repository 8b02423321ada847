//! `fresnel simulate`: CSI from a simulated room, over UDP or into a file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use simulator::{CsvFile, PRESETS, PcapFile, Scenario, SimulatedFrame, Simulation, TruthFile};
use tokio::net::UdpSocket;
use tokio::time::MissedTickBehavior;

/// How often datagrams that are due are looked for.
const TICK: Duration = Duration::from_millis(1);

/// Arguments.
#[derive(clap::Args)]
#[command(after_help = scenarios())]
pub struct Args {
    /// A scenario by name, or a TOML file.
    #[arg(long, default_value = "quiet-then-walk", value_name = "NAME|FILE.toml")]
    scenario: String,
    /// The same seed gives the same frames.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Packets per second to each receiver, instead of the scenario's.
    #[arg(long, value_name = "HZ")]
    rate: Option<f64>,
    /// Length in seconds, instead of the scenario's.
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// So many receivers along the walls, instead of the scenario's.
    #[arg(long, value_name = "N")]
    devices: Option<u8>,
    /// Node id of the first of `--devices`.
    #[arg(long, default_value_t = 1, value_name = "N", requires = "devices")]
    first_node: u8,
    /// Send ADR-018 datagrams there, each at its time.
    #[arg(long, value_name = "ADDR", group = "output")]
    udp: Option<SocketAddr>,
    /// Write a file at once: ADR-018 datagrams (.pcap), or Espressif's CSV of one receiver (.csv).
    #[arg(long, value_name = "FILE", group = "output")]
    out: Option<PathBuf>,
    /// Print the scenario as TOML, to start a file of one's own from.
    #[arg(long, group = "output")]
    show: bool,
    /// Write what was really so, as JSON lines: the scenario, then one line for each frame.
    #[arg(long, value_name = "FILE", conflicts_with = "show")]
    truth: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let scenario = scenario(&args)?;
    if args.show {
        print!("{}", toml::to_string_pretty(&scenario)?);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(target) = args.udp {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let sent = runtime.block_on(send(&scenario, args.seed, target, args.truth.as_deref()))?;
        println!("{sent}");
    } else if let Some(path) = &args.out {
        let frames = write(&scenario, args.seed, path, args.truth.as_deref())?;
        println!(
            "{frames} frames of `{}` in {}; all are stamped `simulated`",
            scenario.name,
            path.display()
        );
    } else {
        bail!("say where to: --udp ADDR, --out FILE.pcap, --out FILE.csv, or --show");
    }
    if let Some(truth) = &args.truth {
        println!("what was really so: {}", truth.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn scenarios() -> String {
    let mut text = String::from("Scenarios:\n");
    for (name, what) in PRESETS {
        text.push_str(&format!("  {name:<16} {what}\n"));
    }
    text
}

fn scenario(args: &Args) -> anyhow::Result<Scenario> {
    let path = Path::new(&args.scenario);
    let mut scenario = if path
        .extension()
        .is_some_and(|extension| extension == "toml")
    {
        let text = fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        Scenario::from_toml(&text).with_context(|| format!("in {}", path.display()))?
    } else {
        Scenario::preset(&args.scenario)?
    };
    if let Some(rate_hz) = args.rate {
        scenario.rate_hz = rate_hz;
    }
    if let Some(duration_s) = args.seconds {
        scenario.duration_s = duration_s;
    }
    if let Some(devices) = args.devices {
        scenario = scenario.with_receivers(devices, args.first_node)?;
    }
    scenario.validate()?;
    Ok(scenario)
}

fn open(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let file =
        File::create(path).with_context(|| format!("{} cannot be created", path.display()))?;
    Ok(BufWriter::new(file))
}

fn open_truth(
    path: Option<&Path>,
    scenario: &Scenario,
    seed: u64,
) -> anyhow::Result<Option<TruthFile<BufWriter<File>>>> {
    path.map(|path| Ok(TruthFile::new(open(path)?, scenario, seed)?))
        .transpose()
}

/// A bar over the simulated time; nothing where standard error is no terminal.
fn bar(scenario: &Scenario) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new((scenario.duration_s * 1e3) as u64);
    let template = "{msg} [{bar:40}] {percent:>3} % {elapsed}";
    bar.set_style(ProgressStyle::with_template(template)?.progress_chars("=> "));
    bar.set_message(format!("simulating `{}`", scenario.name));
    Ok(bar)
}

fn position(simulated: &SimulatedFrame) -> u64 {
    (simulated.truth.time_s * 1e3) as u64
}

enum FileOutput {
    Pcap(PcapFile<BufWriter<File>>),
    Csv(CsvFile<BufWriter<File>>),
}

fn write(scenario: &Scenario, seed: u64, path: &Path, truth: Option<&Path>) -> anyhow::Result<u64> {
    // A recording that says no date begins in 1970: so that the same seed gives the same bytes.
    let simulation = Simulation::new(scenario, seed, 0)?;
    let mut output = match path.extension().and_then(|extension| extension.to_str()) {
        Some("pcap") => FileOutput::Pcap(PcapFile::new(open(path)?)?),
        Some("csv") if scenario.receivers.len() > 1 => bail!(
            "a CSV file holds the frames of one receiver, and `{}` has {}: write a .pcap file",
            scenario.name,
            scenario.receivers.len()
        ),
        Some("csv") => FileOutput::Csv(CsvFile::new(open(path)?, scenario, seed)?),
        _ => bail!("{} must end in .pcap or .csv", path.display()),
    };
    let mut truth = open_truth(truth, scenario, seed)?;
    let bar = bar(scenario)?;
    let mut datagram = Vec::new();
    let mut frames = 0_u64;
    for simulated in simulation {
        match &mut output {
            FileOutput::Pcap(file) => {
                simulator::datagram(&simulated, &mut datagram)?;
                file.write(simulated.frame.receive_time_us, simulated.node, &datagram)?;
            }
            FileOutput::Csv(file) => file.write(&simulated)?,
        }
        if let Some(truth) = &mut truth {
            truth.write(&simulated)?;
        }
        frames += 1;
        if frames.is_multiple_of(256) {
            bar.set_position(position(&simulated));
        }
    }
    match output {
        FileOutput::Pcap(file) => drop(file.finish()?),
        FileOutput::Csv(file) => drop(file.finish()?),
    }
    if let Some(truth) = truth {
        truth.finish()?;
    }
    bar.finish_and_clear();
    Ok(frames)
}

/// What was sent.
struct Sent {
    name: String,
    target: SocketAddr,
    frames: u64,
    refused: u64,
    /// Numbers that the receivers counted and that were not sent.
    left_out: u64,
    loss: f64,
    elapsed: Duration,
    wanted_hz: f64,
    interrupted: bool,
}

impl std::fmt::Display for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let rate = if seconds > 0.0 {
            self.frames as f64 / seconds
        } else {
            0.0
        };
        write!(
            f,
            "{} datagrams of `{}` to {} in {seconds:.1} s: {rate:.1}/s of {:.1}/s; all are stamped `simulated`",
            self.frames, self.name, self.target, self.wanted_hz
        )?;
        if self.left_out > 0 {
            write!(
                f,
                "\n{} more were lost on the simulated air, as the scenario has it (traffic.loss = {} %): a gateway counts them as lost",
                self.left_out,
                100.0 * self.loss
            )?;
        }
        if self.refused > 0 {
            write!(
                f,
                "\n{} of them were refused: nobody listens there",
                self.refused
            )?;
        }
        if self.interrupted {
            write!(f, "\nstopped before the end")?;
        }
        Ok(())
    }
}

/// Sends each datagram when its time of reception has come. What a late tick missed goes out at once.
async fn send(
    scenario: &Scenario,
    seed: u64,
    target: SocketAddr,
    truth: Option<&Path>,
) -> anyhow::Result<Sent> {
    let local: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local)
        .await
        .context("no UDP socket can be had")?;
    // A connected socket hears that nobody listens.
    socket
        .connect(target)
        .await
        .with_context(|| format!("{target} cannot be reached"))?;
    let start_us = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .context("the clock stands before 1970")?
        .as_micros();
    let start_us = i64::try_from(start_us).context("the clock stands past its end")?;
    let mut simulation = Simulation::new(scenario, seed, start_us)?.peekable();
    let mut truth = open_truth(truth, scenario, seed)?;
    let bar = bar(scenario)?;
    let mut sent = Sent {
        name: scenario.name.clone(),
        target,
        frames: 0,
        refused: 0,
        left_out: 0,
        loss: scenario.traffic.loss,
        elapsed: Duration::ZERO,
        wanted_hz: scenario.rate_hz * scenario.receivers.len() as f64,
        interrupted: false,
    };
    let mut datagram = Vec::new();
    // Of each receiver the number that comes next where nothing is lost.
    let mut next: BTreeMap<usize, u64> = BTreeMap::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    let start = Instant::now();
    while simulation.peek().is_some() {
        tokio::select! {
            _ = tick.tick() => {}
            _ = &mut stop => {
                sent.interrupted = true;
                break;
            }
        }
        let now_us = start_us + i64::try_from(start.elapsed().as_micros()).unwrap_or(i64::MAX);
        while let Some(simulated) =
            simulation.next_if(|simulated| simulated.frame.receive_time_us <= now_us)
        {
            simulator::datagram(&simulated, &mut datagram)?;
            // The refusal of an earlier datagram is reported in the place of this one's sending.
            while let Err(error) = socket.send(&datagram).await {
                if error.kind() != io::ErrorKind::ConnectionRefused {
                    return Err(error).with_context(|| format!("{target} cannot be sent to"));
                }
                sent.refused += 1;
            }
            sent.frames += 1;
            let number = simulated.frame.sequence;
            if let Some(next) = next.insert(simulated.receiver, number + 1) {
                sent.left_out += number.saturating_sub(next);
            }
            if let Some(truth) = &mut truth {
                truth.write(&simulated)?;
            }
            bar.set_position(position(&simulated));
        }
    }
    sent.elapsed = start.elapsed();
    if let Some(truth) = truth {
        truth.finish()?;
    }
    bar.finish_and_clear();
    Ok(sent)
}
