//! Batches of the data plane: messages that are stored as they come, and acknowledged many at once. Pure.
//!
//! The protocol is JetStream's fast ingest (nats-server 2.14; docs/adr/011). The reply subject of each message bears the id of
//! its batch and its number there. The server stores it when it comes, and says from time to time up to which number all are
//! stored. Where a number is missing it stores nothing more of the batch, and says how many it stored. That is what it also
//! says when it is asked to end the batch: so it is known, even over a new connection, what has to be sent again.
//!
//! What is open to doubt is ended: when a message is refused, when the connection is made anew, when somebody waits for all
//! acknowledgements, and when the oldest message has waited for one for long. The next message then opens another batch.

use std::collections::VecDeque;

use async_nats::{StatusCode, Subject};
use bytes::BytesMut;
use serde::Deserialize;
use tokio::time::{Duration, Instant};

use super::{ACK_TIMEOUT, Entry};
use crate::Error;
use crate::error::Attempt;
use crate::publish::classify_api;

/// Most messages to one acknowledgement. Of fewer gateways than two, the server takes no more than 500.
const MOST_TO_AN_ACK: usize = 250;
/// Acknowledgements that may be outstanding, as the protocol has it.
const ACKS_OUT: u64 = 2;
/// A batch whose oldest message has waited so long for its acknowledgement is ended.
const LINGER: Duration = Duration::from_secs(1);
/// A batch in which nothing was sent for so long is ended: the server forgets it after ten seconds.
const IDLE: Duration = Duration::from_secs(5);

const NOT_ALLOWED: u64 = 10_205;
const UNKNOWN_BATCH: u64 = 10_208;

/// What the last token but one of a reply subject asks for.
#[derive(Clone, Copy)]
enum Ask {
    Start,
    Append,
    /// End it; the message itself is not stored.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is no batch.
    Closed,
    /// Its first message is out, alone, until the server has taken it on.
    Opening,
    Open,
    /// The server is asked how many it stored.
    Ending,
}

/// A message without an acknowledgement.
struct Out {
    /// None where it has failed, and was reported.
    entry: Option<Entry>,
    /// The server said that it did not take this one.
    refused: bool,
    sent: Instant,
}

/// The present batch of a pipeline.
pub(super) struct Ingest {
    /// Beginning of the ids of its batches: nobody else's are like it.
    name: String,
    /// Beginning of the reply subjects, with its last dot.
    inbox: String,
    batches: u64,
    flow: usize,
    linger: Duration,
    stage: Stage,
    must_end: bool,
    /// The server, or the stream, takes no batches.
    unsupported: bool,
    id: String,
    /// Beginning of the reply subjects of the present batch, up to the number of the message.
    stem: String,
    /// Where its end is sent.
    subject: Subject,
    /// Messages that may be without an acknowledgement.
    window: u64,
    /// Messages at its beginning that are stored, or done with otherwise.
    done: u64,
    /// The others.
    out: VecDeque<Out>,
    /// When something was last sent.
    active: Instant,
}

/// What follows from an answer.
#[derive(Default)]
pub(super) struct Outcome {
    /// Messages that are stored.
    pub acked: u64,
    /// What became of others.
    pub failed: Vec<Error>,
    /// Messages to be sent again.
    pub again: Vec<Entry>,
    /// Why.
    pub reason: Option<String>,
}

/// Whatever the server writes to a batch.
#[derive(Deserialize)]
struct Answer<'a> {
    /// `ack`, `gap`, `err`; absent from what ends or refuses it.
    #[serde(rename = "type", borrow)]
    kind: Option<&'a str>,
    /// Number of a message.
    seq: Option<u64>,
    /// Messages to an acknowledgement from now on.
    msgs: Option<u64>,
    /// How many of the batch are stored: it is at its end.
    count: Option<u64>,
    error: Option<async_nats::jetstream::Error>,
}

impl Ingest {
    /// `inbox` is where answers come to, with its last dot.
    pub fn new(inbox: &str, in_flight: usize, patience: Duration) -> Self {
        let name = uuid::Uuid::new_v4().simple().to_string();
        Self {
            name: name.chars().take(12).collect(),
            inbox: inbox.to_owned(),
            batches: 0,
            // The acknowledgement must come before there is no room for more.
            flow: (in_flight / 4).clamp(1, MOST_TO_AN_ACK),
            linger: LINGER.min(patience / 4),
            stage: Stage::Closed,
            must_end: false,
            unsupported: false,
            id: String::new(),
            stem: String::new(),
            subject: Subject::from_static(""),
            window: 1,
            done: 0,
            out: VecDeque::new(),
            active: Instant::now(),
        }
    }

    /// Whether the message goes this way.
    pub fn takes(&self, entry: &Entry) -> bool {
        entry.message.batched && !self.unsupported
    }

    /// Nothing more may be sent for now.
    pub fn holds(&self) -> bool {
        match self.stage {
            Stage::Closed => false,
            Stage::Opening | Stage::Ending => true,
            Stage::Open => self.must_end || self.out.len() as u64 >= self.window,
        }
    }

    /// There are messages without an acknowledgement.
    pub fn is_out(&self) -> bool {
        !self.out.is_empty()
    }

    /// Writes the reply subject for the next message.
    pub fn reply(&mut self, to: &Subject, subject: &mut BytesMut) {
        if self.stage == Stage::Closed {
            self.batches += 1;
            self.id = format!("{}-{}", self.name, self.batches);
            self.stem = format!("{}{}.{}.fail.", self.inbox, self.id, self.flow);
            self.subject = to.clone();
            (self.done, self.window, self.must_end) = (0, 1, false);
        }
        let number = self.next();
        let ask = if number == 1 { Ask::Start } else { Ask::Append };
        self.write(number, ask, subject);
    }

    fn next(&self) -> u64 {
        self.done + self.out.len() as u64 + 1
    }

    fn write(&self, number: u64, ask: Ask, subject: &mut BytesMut) {
        subject.extend_from_slice(self.stem.as_bytes());
        subject.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        let ask: &[u8] = match ask {
            Ask::Start => b".0.$FI",
            Ask::Append => b".1.$FI",
            Ask::End => b".3.$FI",
        };
        subject.extend_from_slice(ask);
    }

    /// The message for which [`reply`](Self::reply) wrote the subject is out.
    pub fn sent(&mut self, entry: Entry, now: Instant) {
        if self.stage == Stage::Closed {
            self.stage = Stage::Opening;
        }
        self.active = now;
        self.out.push_back(Out {
            entry: Some(entry),
            refused: false,
            sent: now,
        });
    }

    /// Whether the batch is to be ended; `asked`: somebody waits for that.
    pub fn is_due(&self, asked: bool, now: Instant) -> bool {
        match self.stage {
            Stage::Closed | Stage::Ending => false,
            Stage::Opening => self.must_end,
            Stage::Open => {
                let lingers = |out: &Out| now >= out.sent + self.linger;
                let idles = now >= self.active + IDLE;
                let asked = asked && self.is_out();
                self.must_end || asked || self.out.front().map_or(idles, lingers)
            }
        }
    }

    /// Writes the reply subject of the message that ends the batch; gives the subject that it goes to.
    pub fn end(&mut self, reply: &mut BytesMut, now: Instant) -> Subject {
        self.write(self.next(), Ask::End, reply);
        self.active = now;
        // What the server answers where nothing is open need not be waited for.
        self.stage = if self.is_out() {
            Stage::Ending
        } else {
            Stage::Closed
        };
        self.subject.clone()
    }

    /// The connection was made anew: the server is asked over it what it has.
    pub fn reconnected(&mut self) {
        self.unsupported = false;
        if !self.is_out() {
            self.stage = Stage::Closed;
        } else if self.stage != Stage::Closed {
            self.stage = Stage::Open;
            self.must_end = true;
        }
    }

    /// Something is wrong with the batch: it has to be ended.
    pub fn doubt(&mut self) {
        self.must_end = true;
    }

    /// The answer that says what is stored did not come in time.
    pub fn is_overdue(&self, patience: Duration, now: Instant) -> bool {
        self.limit(patience).is_some_and(|limit| now >= limit)
    }

    fn limit(&self, patience: Duration) -> Option<Instant> {
        let oldest = self.out.front()?;
        let limit = match self.stage {
            Stage::Ending => self.active + ACK_TIMEOUT,
            _ => oldest.sent + ACK_TIMEOUT,
        };
        let queued = oldest.entry.as_ref().map(|entry| entry.queued + patience);
        Some(queued.map_or(limit, |queued| limit.min(queued)))
    }

    /// When it has to be looked at again.
    pub fn next_wake(&self, patience: Duration) -> Option<Instant> {
        let due = match (self.stage, self.out.front()) {
            (Stage::Open, None) => Some(self.active + IDLE),
            (Stage::Open, Some(oldest)) => Some(oldest.sent + self.linger),
            _ => None,
        };
        [due, self.limit(patience)].into_iter().flatten().min()
    }

    /// What of the batch is stored is not known, and will not be: all without an acknowledgement is to be sent again.
    pub fn lost(&mut self, reason: String) -> Outcome {
        self.stage = Stage::Closed;
        self.must_end = false;
        Outcome {
            again: self.out.drain(..).filter_map(|out| out.entry).collect(),
            reason: Some(reason),
            ..Outcome::default()
        }
    }

    /// Takes what the server answered on `subject`, without the inbox.
    pub fn answered(&mut self, subject: &str, message: &async_nats::Message) -> Outcome {
        let number = subject
            .strip_prefix(&*self.id)
            .filter(|rest| rest.starts_with('.'))
            .and_then(|rest| rest.rsplit('.').nth(2)?.parse::<u64>().ok());
        // An answer to another batch, which is at its end, says nothing.
        let (Some(number), false) = (number, self.stage == Stage::Closed) else {
            return Outcome::default();
        };
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return self.lost("no stream takes the subject (yet)".to_owned());
        }
        let answer = match serde_json::from_slice::<Answer<'_>>(&message.payload) {
            Ok(answer) => answer,
            Err(error) => return doubtful(format!("the answer is not readable: {error}")),
        };
        match (answer.kind, answer.error) {
            (Some("ack"), _) => {
                if self.stage == Stage::Opening {
                    self.stage = Stage::Open;
                }
                let msgs = answer.msgs.unwrap_or(1).max(1);
                self.window = msgs.saturating_mul(ACKS_OUT);
                self.settle(answer.seq.unwrap_or_default())
            }
            (Some("err"), Some(error)) => self.refused(answer.seq.unwrap_or(number), &error),
            (Some(_), _) => doubtful("a message did not reach the stream".to_owned()),
            (None, Some(error)) => match error.error_code().0 {
                NOT_ALLOWED => {
                    self.unsupported = true;
                    self.lost(error.to_string())
                }
                UNKNOWN_BATCH => self.lost("the server does not know the batch".to_owned()),
                _ => self.refused(number, &error),
            },
            (None, None) => match answer.count {
                Some(count) => {
                    let mut outcome = self.settle(count);
                    if self.is_out() {
                        let rest = self.lost("messages did not reach the stream".to_owned());
                        outcome.again.extend(rest.again);
                        outcome.reason = rest.reason;
                    }
                    self.stage = Stage::Closed;
                    outcome
                }
                // A server that does not know batches takes each message by itself.
                None => {
                    self.unsupported = true;
                    let outcome = self.settle(number);
                    self.stage = Stage::Closed;
                    outcome
                }
            },
        }
    }

    /// All up to this number are stored, but for what was refused.
    fn settle(&mut self, number: u64) -> Outcome {
        let mut outcome = Outcome::default();
        while self.done < number {
            let Some(out) = self.out.pop_front() else {
                break;
            };
            self.done += 1;
            match out.entry {
                Some(entry) if out.refused => outcome.again.push(entry),
                Some(_) => outcome.acked += 1,
                None => {}
            }
        }
        outcome
    }

    /// The server did not take this message, and takes none of the batch behind it.
    fn refused(&mut self, number: u64, error: &async_nats::jetstream::Error) -> Outcome {
        let place = number.checked_sub(self.done + 1);
        let out = place
            .and_then(|place| usize::try_from(place).ok())
            .and_then(|place| self.out.get_mut(place));
        let Some(out) = out else {
            return doubtful(error.to_string());
        };
        let what = out
            .entry
            .as_ref()
            .map(|entry| entry.message.outgoing.what());
        let mut failed = Vec::new();
        let reason = match classify_api(&what.unwrap_or_default(), error) {
            Attempt::Fatal(error) => {
                let reason = error.to_string();
                if out.entry.take().is_some() {
                    failed.push(error);
                }
                reason
            }
            Attempt::Transient(reason) => {
                out.refused = true;
                reason
            }
        };
        let mut outcome = if number == 1 {
            // Then there is no batch.
            self.lost(reason)
        } else {
            doubtful(reason)
        };
        outcome.failed = failed;
        outcome
    }
}

fn doubtful(reason: String) -> Outcome {
    Outcome {
        reason: Some(reason),
        ..Outcome::default()
    }
}

#[cfg(test)]
mod tests;
