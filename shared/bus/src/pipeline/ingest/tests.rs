use bytes::Bytes;

use super::*;
use crate::{DataSubject, Message};

const PATIENCE: Duration = Duration::from_secs(10);

struct Batch {
    ingest: Ingest,
    now: Instant,
    /// Reply subjects, without the inbox.
    sent: Vec<String>,
}

impl Batch {
    fn new(in_flight: usize) -> Self {
        Self {
            ingest: Ingest::new("inbox.", in_flight, PATIENCE),
            now: Instant::now(),
            sent: Vec::new(),
        }
    }

    /// Sends message `number` of the pipeline.
    fn send(&mut self, number: u64) {
        let subject = DataSubject::new("data.csi.kitchen.esp".to_owned()).unwrap();
        let entry = Entry {
            number,
            message: Message::data(&subject, Bytes::new(), None),
            queued: self.now,
        };
        assert!(
            self.ingest.takes(&entry) && !self.ingest.holds(),
            "{number}"
        );
        let mut reply = BytesMut::new();
        self.ingest
            .reply(&entry.message.outgoing.subject, &mut reply);
        self.ingest.sent(entry, self.now);
        self.note(&reply);
    }

    fn end(&mut self) {
        let mut reply = BytesMut::new();
        let subject = self.ingest.end(&mut reply, self.now);
        assert_eq!(&*subject, "data.csi.kitchen.esp");
        self.note(&reply);
    }

    fn note(&mut self, reply: &[u8]) {
        let reply = std::str::from_utf8(reply).unwrap();
        self.sent
            .push(reply.strip_prefix("inbox.").unwrap().to_owned());
    }

    /// The newest reply subject without the id of its batch.
    fn newest(&self) -> &str {
        self.sent.last().unwrap().split_once('.').unwrap().1
    }

    /// An answer to the message that was sent `place`th, from 0; acked and to be sent again.
    fn answer(&mut self, place: usize, payload: &str) -> Outcome {
        let subject = self.sent[place].clone();
        self.ingest.answered(&subject, &message(payload, None))
    }
}

fn message(payload: &str, status: Option<StatusCode>) -> async_nats::Message {
    async_nats::Message {
        subject: "unused".into(),
        reply: None,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        headers: None,
        status,
        description: None,
        length: payload.len(),
    }
}

fn ack(seq: u64, msgs: u64) -> String {
    format!(r#"{{"type":"ack","seq":{seq},"msgs":{msgs}}}"#)
}

fn again(outcome: &Outcome) -> Vec<u64> {
    outcome.again.iter().map(|entry| entry.number).collect()
}

#[test]
fn one_acknowledgement_stands_for_many() {
    let mut batch = Batch::new(400);
    batch.send(10);
    assert_eq!(batch.newest(), "100.fail.1.0.$FI");
    assert!(batch.ingest.holds(), "the first goes alone");
    assert_eq!(batch.answer(0, &ack(0, 2)).acked, 0);
    for number in 11..14 {
        batch.send(number);
    }
    assert_eq!(batch.newest(), "100.fail.4.1.$FI");
    assert!(batch.ingest.holds(), "two acknowledgements are outstanding");
    assert_eq!(batch.answer(1, &ack(2, 2)).acked, 2);
    assert!(!batch.ingest.holds());
    // One that was lost is made up for by the next.
    batch.send(14);
    batch.send(15);
    assert_eq!(batch.answer(5, &ack(6, 100)).acked, 4);
    assert!(!batch.ingest.is_out());
    // A late one changes nothing.
    assert_eq!(batch.answer(3, &ack(4, 100)).acked, 0);
}

#[test]
fn the_end_says_what_is_stored_and_the_rest_is_sent_again() {
    let mut batch = Batch::new(400);
    batch.send(1);
    batch.answer(0, &ack(0, 100));
    (2..=5).for_each(|number| batch.send(number));
    assert!(!batch.ingest.is_due(false, batch.now));
    assert!(batch.ingest.is_due(true, batch.now), "somebody waits");
    assert!(batch.ingest.is_due(false, batch.now + LINGER));
    batch.end();
    assert_eq!(batch.newest(), "100.fail.6.3.$FI");
    assert!(batch.ingest.holds() && !batch.ingest.is_due(true, batch.now));
    let outcome = batch.answer(5, r#"{"stream":"DATA","seq":99,"batch":"b","count":3}"#);
    assert_eq!((outcome.acked, again(&outcome)), (3, vec![4, 5]));
    assert!(outcome.reason.is_some());
    // Another batch, of another id; what is still said of the first is not taken for it.
    batch.send(4);
    assert_eq!(batch.newest(), "100.fail.1.0.$FI");
    assert_ne!(batch.sent[0], batch.sent[6]);
    assert_eq!(batch.answer(0, &ack(1, 1)).acked, 0);
    batch.answer(6, &ack(0, 100));
    assert_eq!(batch.answer(6, &ack(1, 100)).acked, 1);
}

#[test]
fn a_gap_is_told_and_ends_it() {
    let mut batch = Batch::new(400);
    batch.send(1);
    batch.answer(0, &ack(0, 100));
    (2..=5).for_each(|number| batch.send(number));
    let outcome = batch.answer(3, r#"{"type":"gap","last_seq":3,"seq":4}"#);
    assert_eq!((outcome.acked, again(&outcome)), (0, vec![]));
    assert!(outcome.reason.is_some());
    let outcome = batch.answer(3, r#"{"stream":"DATA","seq":9,"batch":"b","count":2}"#);
    assert_eq!((outcome.acked, again(&outcome)), (2, vec![3, 4, 5]));
}

#[test]
fn a_message_that_is_refused_fails_alone() {
    let too_large = r#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}"#;
    let mut batch = Batch::new(400);
    batch.send(1);
    batch.answer(0, &ack(0, 100));
    (2..=5).for_each(|number| batch.send(number));
    let outcome = batch.answer(2, too_large);
    assert_eq!((outcome.failed.len(), again(&outcome)), (1, vec![]));
    assert!(outcome.reason.is_some(), "the server takes none behind it");
    let outcome = batch.answer(4, r#"{"stream":"DATA","seq":9,"batch":"b","count":2}"#);
    assert_eq!((outcome.acked, again(&outcome)), (2, vec![4, 5]));
    // The first of a batch: then there is none.
    batch.send(4);
    let outcome = batch.answer(5, too_large);
    assert_eq!((outcome.failed.len(), again(&outcome)), (1, vec![]));
    batch.send(5);
    assert_eq!(batch.newest(), "100.fail.1.0.$FI");
}

#[test]
fn what_may_go_better_another_time_is_sent_again() {
    let no_room =
        r#"{"error":{"code":503,"err_code":10023,"description":"insufficient resources"}}"#;
    let mut batch = Batch::new(400);
    batch.send(1);
    batch.answer(0, &ack(0, 100));
    (2..=4).for_each(|number| batch.send(number));
    let outcome = batch.answer(1, no_room);
    assert!(outcome.failed.is_empty() && outcome.reason.is_some());
    // The server counts it among the stored ones, where it had it in hand before it failed.
    let outcome = batch.answer(3, &ack(4, 100));
    assert_eq!((outcome.acked, again(&outcome)), (3, vec![2]));
    let many = r#"{"error":{"code":429,"err_code":10211,"description":"batch publish too many inflight"}}"#;
    let mut batch = Batch::new(400);
    batch.send(1);
    let outcome = batch.answer(0, many);
    assert_eq!((outcome.failed.len(), again(&outcome)), (0, vec![1]));
}

#[test]
fn a_batch_that_nobody_knows_is_sent_again_whole() {
    let unknown =
        r#"{"error":{"code":400,"err_code":10208,"description":"batch publish ID unknown"}}"#;
    let mut batch = Batch::new(400);
    batch.send(1);
    batch.answer(0, &ack(0, 2));
    batch.send(2);
    batch.send(3);
    assert_eq!(batch.answer(1, &ack(2, 2)).acked, 2);
    batch.send(4);
    batch.ingest.reconnected();
    assert!(batch.ingest.holds() && batch.ingest.is_due(false, batch.now));
    batch.end();
    assert_eq!(again(&batch.answer(4, unknown)), [3, 4]);
    // Nobody is there to take it.
    batch.send(3);
    let subject = batch.sent[5].clone();
    let outcome = batch
        .ingest
        .answered(&subject, &message("", Some(StatusCode::NO_RESPONDERS)));
    assert_eq!(again(&outcome), [3]);
    // Nobody answers.
    batch.send(3);
    batch.answer(6, &ack(0, 100));
    batch.send(4);
    batch.end();
    assert!(!batch.ingest.is_overdue(PATIENCE, batch.now));
    assert!(batch.ingest.is_overdue(PATIENCE, batch.now + ACK_TIMEOUT));
    assert_eq!(again(&batch.ingest.lost("late".to_owned())), [3, 4]);
}

#[test]
fn without_batches_each_goes_by_itself() {
    let subject = DataSubject::new("data.csi.kitchen.esp".to_owned()).unwrap();
    let entry = |id| Entry {
        number: 2,
        message: Message::data(&subject, Bytes::new(), id),
        queued: Instant::now(),
    };
    // A stream that does not allow them.
    let mut batch = Batch::new(400);
    batch.send(1);
    let outcome = batch.answer(
        0,
        r#"{"error":{"code":400,"err_code":10205,"description":"batch publish is disabled"}}"#,
    );
    assert_eq!(again(&outcome), [1]);
    assert!(!batch.ingest.takes(&entry(None)) && !batch.ingest.holds());
    batch.ingest.reconnected();
    assert!(batch.ingest.takes(&entry(None)), "it may be another server");
    assert!(!batch.ingest.takes(&entry(Some("id".to_owned()))));
    // A server that does not know them.
    let mut batch = Batch::new(400);
    batch.send(1);
    let outcome = batch.answer(0, r#"{"stream":"DATA","seq":7}"#);
    assert_eq!((outcome.acked, again(&outcome)), (1, vec![]));
    assert!(!batch.ingest.takes(&entry(None)) && !batch.ingest.holds());
}

#[test]
fn what_rests_is_ended_before_the_server_forgets_it() {
    let mut batch = Batch::new(4);
    batch.send(1);
    assert_eq!(
        batch.newest(),
        "1.fail.1.0.$FI",
        "an ack must come before there is no room"
    );
    batch.answer(0, &ack(0, 1));
    batch.answer(0, &ack(1, 1));
    assert_eq!(batch.ingest.next_wake(PATIENCE), Some(batch.now + IDLE));
    assert!(!batch.ingest.is_due(true, batch.now), "all is acknowledged");
    assert!(batch.ingest.is_due(false, batch.now + IDLE));
    batch.end();
    assert!(!batch.ingest.holds(), "nobody waits for the answer");
}
