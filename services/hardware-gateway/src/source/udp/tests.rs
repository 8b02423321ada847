use super::*;

#[test]
fn what_comes_close_upon_each_other_is_read_together() {
    let start = Instant::now();
    let mut pace = Pace { before: start };
    let at = |ms| start + Duration::from_millis(ms);
    assert_eq!(pace.read(0, at(5)), Wait::No, "nothing came");
    assert_eq!(pace.read(1, at(10)), Wait::No, "they come one by one");
    assert_eq!(pace.read(2, at(20)), Wait::For(TOGETHER));
    assert_eq!(pace.read(100, at(30)), Wait::For(TOGETHER), "10,000/s");
    // As long as it takes for as many as are wanted: the socket's buffer must not fill up.
    assert_eq!(pace.read(240, at(34)), Wait::For(Duration::from_millis(2)));
    assert_eq!(pace.read(BATCH, at(35)), Wait::Turn, "there is more");
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

/// Whether an epoll instance of this process watches the socket, or a duplicate of it.
#[cfg(target_os = "linux")]
fn is_watched(socket: &UdpSocket) -> bool {
    use std::os::fd::AsRawFd as _;
    let fd = format!("/proc/self/fd/{}", socket.as_raw_fd());
    let link = std::fs::read_link(fd).expect("a link");
    let inode: u64 = link
        .to_str()
        .and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'))
        .and_then(|inode| inode.parse().ok())
        .expect("an inode");
    let inode = format!("ino:{inode:x} ");
    // The descriptors of other tests come and go.
    let infos = std::fs::read_dir("/proc/self/fdinfo").expect("a directory");
    infos
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok())
        .any(|info| {
            let mut targets = info.lines().filter(|line| line.starts_with("tfd:"));
            targets.any(|line| line.contains(&inode))
        })
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_socket_is_watched_only_while_it_is_waited_for() {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 1 << 16).expect("a socket");
    let to = listener.address().expect("an address");
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    assert!(!is_watched(&listener.socket), "nobody waits");
    for byte in 0..3 {
        let mut waiting = Box::pin(listener.readable());
        assert!(futures::poll!(&mut waiting).is_pending(), "nothing came");
        assert!(is_watched(&listener.socket), "it is waited for");
        sender.send_to(&[byte], to).expect("sent");
        waiting.await.expect("readable");
        assert!(!is_watched(&listener.socket), "a datagram lies there");
        let mut came: Vec<u8> = Vec::new();
        batch::Reader::new()
            .read(&listener.socket, BATCH, |bytes, _, _| came.extend(bytes))
            .expect("read");
        assert_eq!(came, [byte]);
    }
}
