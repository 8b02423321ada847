//! The service: shares the partitions of the data plane with the other processes of its kind, and works its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bus::{Claim, Claims};
use runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::config::Config;
use crate::grpc::Past;
use crate::history::in_hand::InHand;
use crate::worker::{Metrics, Shared, Worker};
use crate::{board, grpc, processing, thresholds};

/// How often a process says that it lives, and looks after the others.
const ROUND: Duration = Duration::from_millis(500);
/// Pause before a partition is worked again whose worker failed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Starts the service.
///
/// # Errors
/// Where NATS cannot be reached or the gRPC address cannot be bound.
pub async fn start(config: Config, rt: &mut Runtime) -> anyhow::Result<()> {
    let bus = rt.bus().await?;
    let claims = bus.claims("signal").await?;
    let board = Board::new(&config.presence);
    let thresholds = thresholds::Store::open(&bus).await?;
    rt.spawn(
        "thresholds of zones",
        thresholds.clone().follow(rt.shutdown()),
    );
    let in_hand = InHand::open(&bus).await?;
    let processing = processing::start(rt, &bus, config.processing.clone()).await?;
    let shared = Shared {
        bus: bus.clone(),
        config: Arc::new(config),
        source: rt.source().into(),
        board: board.clone(),
        metrics: Arc::new(Metrics::new()),
        thresholds: thresholds.watch(),
        until: claims.until(),
        in_hand: in_hand.clone(),
    };
    let default = shared.config.motion.clone();
    let past = Past::new(bus.clone(), thresholds, default, in_hand);
    let config = Arc::clone(&shared.config);
    let mirror = board::mirror(bus, board.clone(), rt.shutdown()).await?;
    rt.spawn("zone states of other instances", mirror);
    let shards = Shards {
        claims,
        shared,
        workers: BTreeMap::new(),
        again: BTreeSet::new(),
        running: JoinSet::new(),
    };
    rt.spawn("signal", shards.run(rt.shutdown()));
    grpc::serve(rt, &config, board, past, processing).await
}

/// The partitions of this process, each with its worker.
struct Shards {
    claims: Claims,
    shared: Shared,
    workers: BTreeMap<u16, CancellationToken>,
    /// Partitions that were lost and gained again while their worker had not ended.
    again: BTreeSet<u16>,
    running: JoinSet<(u16, anyhow::Result<()>)>,
}

impl Shards {
    async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = rounds.tick() => self.round().await,
                Some(ended) = self.running.join_next() => {
                    self.ended(ended.context("a worker panicked")?).await;
                }
            }
        }
        for worker in self.workers.values() {
            worker.cancel();
        }
        // The partitions stay this process's until its workers have written what they know.
        while !self.running.is_empty() {
            tokio::select! {
                _ = rounds.tick() => { self.claims.round().await; }
                Some(ended) = self.running.join_next() => ended.context("a worker panicked")?.1?,
            }
        }
        self.claims.leave().await.context("leaving the partitions")
    }

    async fn round(&mut self) {
        let mine = self.claims.mine().len();
        for change in self.claims.round().await {
            match change {
                Claim::Gained(partition) if self.workers.contains_key(&partition) => {
                    self.again.insert(partition);
                }
                Claim::Gained(partition) => self.work(partition, Duration::ZERO),
                Claim::Wanted(partition) | Claim::Lost(partition) => {
                    self.again.remove(&partition);
                    if let Some(worker) = self.workers.get(&partition) {
                        worker.cancel();
                    }
                }
            }
        }
        self.shared.board.share(self.claims.shared());
        if self.claims.mine().len() != mine {
            tracing::info!(partitions = ?self.claims.mine(), "partitions of this instance");
        }
    }

    fn work(&mut self, partition: u16, pause: Duration) {
        let stop = CancellationToken::new();
        self.workers.insert(partition, stop.clone());
        let shared = self.shared.clone();
        self.running.spawn(async move {
            if !pause.is_zero() {
                tokio::select! {
                    () = stop.cancelled() => return (partition, Ok(())),
                    () = tokio::time::sleep(pause) => {}
                }
            }
            let worked = async { Worker::open(shared, partition).await?.run(stop).await };
            (partition, worked.await)
        });
    }

    /// A worker ended: its partition is wanted elsewhere or was lost, or the bus took nothing for longer than it may (it is
    /// away, or its disk is full). Then it begins again at its checkpoint, as it would in another process.
    async fn ended(&mut self, (partition, worked): (u16, anyhow::Result<()>)) {
        let failed = worked.is_err();
        if let Err(error) = worked {
            let error = format!("{error:#}");
            tracing::warn!(
                partition,
                error,
                "working a partition failed: it is worked again from its checkpoint"
            );
        }
        self.workers.remove(&partition);
        let mine = self.claims.mine().contains(&partition);
        if self.again.remove(&partition) || (failed && mine) {
            let pause = if failed { AGAIN_AFTER } else { Duration::ZERO };
            self.work(partition, pause);
        } else if mine && let Err(error) = self.claims.release(&[partition]).await {
            // It is free all the same, as soon as this process is not heard of.
            tracing::warn!(partition, %error, "a partition could not be given up");
        }
    }
}
