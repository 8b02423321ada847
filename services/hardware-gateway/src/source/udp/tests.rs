use super::*;

#[test]
fn what_comes_close_upon_each_other_is_read_together() {
    let start = Instant::now();
    let mut pace = Pace { before: start };
    let at = |ms| start + Duration::from_millis(ms);
    assert_eq!(pace.read(0, at(5)), Wait::No, "nothing came");
    assert_eq!(pace.read(1, at(10)), Wait::No, "they come one by one");
    assert_eq!(pace.read(2, at(20)), Wait::For(TOGETHER));
    assert_eq!(pace.read(50, at(25)), Wait::For(TOGETHER), "10,000/s");
    // As long as it takes for as many as are wanted: the socket's buffer must not fill up.
    assert_eq!(pace.read(128, at(29)), Wait::For(Duration::from_millis(2)));
    assert_eq!(pace.read(BATCH, at(30)), Wait::Turn, "there is more");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_datagram_arrives_when_the_kernel_has_it() {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 1 << 16).expect("a socket");
    let to = listener.address().expect("an address");
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    // The kernel begins to note the time a little after it was asked to; before, it is that of reading.
    for byte in 0..=u8::MAX {
        let before_us = now_us();
        sender.send_to(&[byte], to).expect("sent");
        let sent_us = now_us();
        // It lies there for a while.
        while now_us() <= sent_us + 1_000 {
            std::hint::spin_loop();
        }
        let mut arrived_us = None;
        while arrived_us.is_none() {
            listener.readable().await.expect("readable");
            let read = batch::Reader::new().read(&listener.socket, BATCH, |bytes, peer, said| {
                assert_eq!(
                    (bytes, peer),
                    (&[byte][..], sender.local_addr().expect("ours"))
                );
                arrived_us = Some(said.arrived_us.expect("a time"));
            });
            read.expect("read");
        }
        if arrived_us.is_some_and(|arrived_us| (before_us..=sent_us).contains(&arrived_us)) {
            return;
        }
    }
    panic!("the time is always that of reading");
}
