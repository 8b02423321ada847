//! The devices: each sends at its own pace, over a socket of its own, and counts and keeps time as its firmware does.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use e2e::datagram::line;
use simulator::DatagramLoop;

/// Frames per second of each device, on the wall.
pub const RATE_HZ: u32 = 70;
/// Where samples begin in a datagram.
const SAMPLES: usize = 20;

/// What a device sends.
#[derive(Clone, Copy)]
pub enum Form {
    /// ADR-018 datagrams: a 32-bit count, no clock.
    Datagrams,
    /// `CSI_DATA` lines: a count and a 32-bit clock of microseconds.
    Lines,
}

/// Where it sends.
pub enum Way {
    /// To a UDP socket.
    Udp(SocketAddr),
    /// To whoever is connected.
    Tcp(Arc<Relay>),
}

/// One device.
pub struct Device {
    pub name: String,
    pub hardware_id: String,
    pub form: Form,
    pub way: Way,
    /// Its first number.
    pub count: u32,
    /// It starts again, count and clock from 0, after so many frames.
    pub boots_after: Option<u32>,
    /// Where its samples come from.
    pub samples: DatagramLoop,
}

/// A frame that left.
#[derive(Clone, Copy)]
pub struct Sent {
    /// Wall clock, microseconds.
    pub at_us: i64,
    pub sequence: u32,
    /// What a clock that never wraps and never starts again would say, microseconds.
    pub clock_us: u64,
}

/// What one device sent.
pub struct Offered {
    pub name: String,
    pub form: Form,
    pub boots: u32,
    pub sent: Vec<Sent>,
    /// Frames that nobody was connected for.
    pub unheard: u64,
}

/// A TCP peer that sends lines to whoever connects, and can go away.
pub struct Relay {
    pub address: SocketAddr,
    connection: Mutex<Option<TcpStream>>,
    here: AtomicBool,
}

impl Relay {
    pub fn start() -> anyhow::Result<Arc<Self>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let relay = Arc::new(Self {
            address: listener.local_addr()?,
            connection: Mutex::default(),
            here: AtomicBool::new(true),
        });
        let accepting = Arc::clone(&relay);
        // It ends with the process.
        thread::spawn(move || accepting.accept(listener));
        Ok(relay)
    }

    fn accept(&self, listener: TcpListener) {
        let mut listener = Some(listener);
        loop {
            if !self.here.load(Ordering::Relaxed) {
                // Nothing listens on the port any more.
                listener = None;
                thread::sleep(Duration::from_millis(20));
                continue;
            }
            let Some(open) = &listener else {
                listener = TcpListener::bind(self.address).ok();
                continue;
            };
            let Ok((stream, _)) = open.accept() else {
                continue;
            };
            // Whoever is slow does not stop the other devices.
            let _ = stream.set_nonblocking(true);
            let _ = stream.set_nodelay(true);
            *self.connection() = self.here.load(Ordering::Relaxed).then_some(stream);
        }
    }

    fn connection(&self) -> std::sync::MutexGuard<'_, Option<TcpStream>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes its socket and its connection.
    pub fn go(&self) {
        self.here.store(false, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        *self.connection() = None;
    }

    pub fn come_back(&self) {
        self.here.store(true, Ordering::Relaxed);
    }

    /// Whether all of it could be handed over.
    fn send(&self, bytes: &[u8]) -> bool {
        let mut connection = self.connection();
        let sent = connection
            .as_mut()
            .is_some_and(|stream| stream.write_all(bytes).is_ok());
        if !sent {
            *connection = None;
        }
        sent
    }
}

/// The thread that sends for all devices.
pub struct Sending {
    thread: JoinHandle<anyhow::Result<Vec<Offered>>>,
    stop: Arc<AtomicBool>,
}

/// Starts to send; each frame moves a device's clock on by `step_us`.
pub fn start(devices: Vec<Device>, step_us: u32) -> Sending {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    Sending {
        thread: thread::spawn(move || send(devices, step_us, &stopped)),
        stop,
    }
}

impl Sending {
    /// Stops it; what was sent.
    pub fn finish(self) -> anyhow::Result<Vec<Offered>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the sending thread panicked"))?
    }

    /// Whether it has failed.
    pub fn ended(&self) -> bool {
        self.thread.is_finished()
    }
}

fn send(devices: Vec<Device>, step_us: u32, stop: &AtomicBool) -> anyhow::Result<Vec<Offered>> {
    let mut all = Vec::new();
    for device in devices {
        // One socket each: it is by its address that the gateway tells one from another.
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let offered = Offered {
            name: device.name.clone(),
            form: device.form,
            boots: 0,
            sent: Vec::new(),
            unheard: 0,
        };
        all.push((device, socket, offered));
    }
    let period = Duration::from_secs(1) / RATE_HZ;
    let began = SystemTime::now();
    let mut turn: u32 = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = period * turn;
        let now = began.elapsed().unwrap_or_default();
        if let Some(wait) = due.checked_sub(now) {
            thread::sleep(wait);
        }
        for (device, socket, offered) in &mut all {
            one(device, socket, offered, turn, step_us)?;
        }
        turn += 1;
    }
    Ok(all.into_iter().map(|(_, _, offered)| offered).collect())
}

fn one(
    device: &mut Device,
    socket: &UdpSocket,
    offered: &mut Offered,
    turn: u32,
    step_us: u32,
) -> anyhow::Result<()> {
    let life = device.boots_after.map_or(turn, |after| turn % after.max(1));
    offered.boots = device.boots_after.map_or(0, |after| turn / after.max(1));
    let first = if offered.boots == 0 { device.count } else { 0 };
    let sequence = first.wrapping_add(life);
    // Its 32 bits wrap as they do on a device.
    let clock = life.wrapping_mul(step_us);
    let (_, datagram) = device.samples.next_datagram();
    let bytes = match device.form {
        Form::Datagrams => {
            let mut bytes = datagram.to_vec();
            if let Some(field) = bytes.get_mut(12..16) {
                field.copy_from_slice(&sequence.to_le_bytes());
            }
            bytes
        }
        Form::Lines => {
            let samples = datagram.get(SAMPLES..).unwrap_or_default().iter();
            let iq: Vec<i8> = samples.map(|byte| byte.cast_signed()).collect();
            line(&device.hardware_id, sequence, clock, &iq).into_bytes()
        }
    };
    let at_us = now_us();
    let heard = match &device.way {
        Way::Udp(to) => {
            socket
                .send_to(&bytes, to)
                .with_context(|| format!("{} cannot send", device.name))?;
            true
        }
        Way::Tcp(relay) => relay.send(&bytes),
    };
    if heard {
        offered.sent.push(Sent {
            at_us,
            sequence,
            clock_us: u64::from(turn) * u64::from(step_us),
        });
    } else {
        offered.unheard += 1;
    }
    Ok(())
}

/// Now, microseconds since the Unix epoch.
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    })
}
