//! Partitions of the data plane, and who works them.

use std::collections::BTreeSet;

use bus::{Bus, Claim, Claims, table};
use bytes::Bytes;

use crate::sandbox::{Sandbox, soon, strings};

#[tokio::test]
async fn a_zone_lies_in_one_partition() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let pipeline = bus.pipeline(64);
    for n in 0..64 {
        for plane in ["csi", "signal"] {
            let subject = format!("data.{plane}.zone-{}.esp-{n}", n % 32);
            pipeline
                .publish_data(subject, Bytes::from(n.to_string()), None)
                .await
                .unwrap();
        }
    }
    pipeline.flush().await.unwrap();
    let mut seen = BTreeSet::new();
    let mut used = 0;
    for partition in 0..table::PARTITIONS {
        let filters = strings(&[&format!("data.csi.*.*.{partition}")]);
        let mut tail = bus.tail(&format!("p{partition}"), &filters).await.unwrap();
        let mut zones = BTreeSet::new();
        let mut devices = 0;
        // A reader that is given nothing has nothing: the consumer says how much is pending.
        while tail.pending() > 0 {
            for message in soon("frames", tail.next_batch(64)).await.unwrap() {
                let tokens: Vec<&str> = message.subject.split('.').collect();
                assert_eq!(tokens.len(), 5, "{}", message.subject);
                zones.insert(tokens[2].to_owned());
                devices += 1;
            }
        }
        assert_eq!(
            devices,
            2 * zones.len(),
            "both devices of each zone lie together"
        );
        used += usize::from(!zones.is_empty());
        for zone in zones {
            assert!(seen.insert(zone), "a zone lies in two partitions");
        }
    }
    assert_eq!(seen.len(), 32);
    assert!(used > 8, "the zones lie in {used} of 16 partitions");
    // A reader that does not care for partitions need not name one.
    let newest = bus.last("data.signal.zone-5.esp-5").await.unwrap().unwrap();
    assert_eq!(newest.payload, "5");
}

async fn claims(bus: &Bus) -> Claims {
    bus.claims("signal").await.unwrap()
}

/// Plays rounds of `claims`, gives up what is wanted, until it has `count`.
async fn until(claims: &mut Claims, others: &mut [&mut Claims], count: usize) {
    soon("the partitions", async {
        while claims.mine().len() != count {
            claims.round().await;
            for other in others.iter_mut() {
                let wanted: Vec<u16> = other
                    .round()
                    .await
                    .into_iter()
                    .filter_map(|change| match change {
                        Claim::Wanted(partition) => Some(partition),
                        _ => None,
                    })
                    .collect();
                other.release(&wanted).await.unwrap();
                assert!(claims.mine().is_disjoint(other.mine()));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn partitions_are_shared_and_taken_over() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let mut one = claims(&bus).await;
    let gained = one.round().await;
    assert_eq!(gained, (0..16).map(Claim::Gained).collect::<Vec<_>>());
    assert!(*one.until().borrow() > tokio::time::Instant::now());

    // A second process comes: each has its share, no partition two owners.
    let mut two = claims(&bus).await;
    assert_eq!(two.round().await, [], "nothing is taken from the living");
    let share = one.round().await.len();
    assert!((1..16).contains(&share), "{share} of 16 are wanted");
    until(&mut two, &mut [&mut one], share).await;
    assert_eq!(one.mine().len() + two.mine().len(), 16);
    // It dies without a word: the first takes all over, once it is no longer heard.
    drop(two);
    until(&mut one, &mut [], 16).await;
    // A third comes, the first leaves in order: nothing is waited for.
    let mut three = claims(&bus).await;
    three.round().await;
    one.leave().await.unwrap();
    assert_eq!(three.round().await.len(), 16);
}

#[tokio::test]
async fn who_is_cut_off_gives_up_before_others_take() {
    let sandbox = Sandbox::start().await;
    let bus = sandbox.bus().await;
    let mut claims = claims(&bus).await;
    claims.round().await;
    assert_eq!(claims.mine().len(), 16);
    sandbox.server.kill().await;
    let lost = soon("the loss", async {
        loop {
            let changes = claims.round().await;
            if !changes.is_empty() {
                return changes;
            }
            tokio::time::sleep_until(*claims.until().borrow()).await;
        }
    })
    .await;
    assert_eq!(lost, (0..16).map(Claim::Lost).collect::<Vec<_>>());
}
