use super::{Capture, Error};

fn ipv4(payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((28 + payload.len() as u16).to_be_bytes());
    packet.extend([
        0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x15, 0x7C, 0x15, 0x7C,
    ]);
    packet.extend((8 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

/// With a hop-by-hop header before UDP.
fn ipv6(payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((16 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 64]);
    packet.extend([0; 32]);
    packet.extend([17, 0, 1, 4, 0, 0, 0, 0, 0x15, 0x7C, 0x15, 0x7C]);
    packet.extend((8 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

fn behind(link: &[u8], ip: Vec<u8>) -> Vec<u8> {
    [link, &ip].concat()
}

/// One packet on each link type, all with the payload `csi`.
fn packets() -> Vec<(u32, Vec<u8>)> {
    let sll2 = [[0x08, 0, 0, 0], [0; 4], [0; 4], [0; 4], [0; 4]].concat();
    vec![
        (1, behind(&[&[0; 12][..], &[8, 0]].concat(), ipv4(b"csi"))),
        (
            1,
            behind(&[&[0; 12][..], &[0x86, 0xDD]].concat(), ipv6(b"csi")),
        ),
        (
            1,
            behind(
                &[&[0; 12][..], &[0x88, 0xA8, 0, 7, 0x81, 0, 0, 9, 8, 0]].concat(),
                ipv4(b"csi"),
            ),
        ),
        (113, behind(&[&[0; 14][..], &[8, 0]].concat(), ipv4(b"csi"))),
        (276, behind(&sll2, ipv4(b"csi"))),
        (101, ipv4(b"csi")),
        (228, ipv4(b"csi")),
        (229, ipv6(b"csi")),
        (0, behind(&[2, 0, 0, 0], ipv4(b"csi"))),
        (108, behind(&[0, 0, 0, 28], ipv6(b"csi"))),
    ]
}

struct Order {
    big: bool,
}

impl Order {
    fn u32(&self, value: u32) -> [u8; 4] {
        if self.big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }

    fn u16(&self, value: u16) -> [u8; 2] {
        if self.big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    }

    fn block(&self, kind: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = self.u32(12 + body.len() as u32);
        [&self.u32(kind)[..], &length, &body, &length].concat()
    }

    fn section(&self) -> Vec<u8> {
        let body = [
            &self.u32(0x1A2B_3C4D)[..],
            &self.u16(1),
            &self.u16(0),
            &[0xFF; 8],
        ];
        self.block(0x0A0D_0D0A, &body.concat())
    }

    /// An interface that counts in 2^-10 s or 10^-`resolution` s.
    fn interface(&self, link_type: u32, resolution: u8) -> Vec<u8> {
        let option = [
            &self.u16(9)[..],
            &self.u16(1),
            &[resolution, 0, 0, 0],
            &self.u16(0),
            &self.u16(0),
        ];
        let body = [
            &self.u16(link_type as u16)[..],
            &self.u16(0),
            &self.u32(65_535),
            &option.concat(),
        ];
        self.block(1, &body.concat())
    }

    fn packet(&self, interface: u32, time: u64, packet: &[u8]) -> Vec<u8> {
        let length = self.u32(packet.len() as u32);
        let body = [
            &self.u32(interface)[..],
            &self.u32((time >> 32) as u32),
            &self.u32(time as u32),
            &length,
            &length,
            packet,
        ];
        self.block(6, &body.concat())
    }
}

fn pcap(big: bool, nanoseconds: bool, link_type: u32, packet: &[u8]) -> Vec<u8> {
    let order = Order { big };
    let magic = if nanoseconds {
        0xA1B2_3C4D
    } else {
        0xA1B2_C3D4
    };
    let fraction = if nanoseconds { 250_000_999 } else { 250_000 };
    let length = packet.len() as u32;
    [
        magic,
        if big { 0x0002_0004 } else { 0x0004_0002 },
        0,
        0,
        65_535,
        link_type,
        1_700_000_000,
        fraction,
        length,
        length,
    ]
    .into_iter()
    .flat_map(|word| order.u32(word))
    .chain(packet.iter().copied())
    .collect()
}

/// Time, port and payload.
type Found = Result<(i64, Option<(u16, Vec<u8>)>), Error>;

fn read(file: &[u8]) -> Vec<Found> {
    let mut capture = Capture::open(file).unwrap();
    let mut all = Vec::new();
    while let Some(next) = capture.next(file) {
        all.push(next.map(|captured| {
            let udp = captured.udp.map(|(port, payload)| (port, payload.to_vec()));
            (captured.time_us, udp)
        }));
    }
    all
}

fn whole(time_us: i64) -> Found {
    Ok((time_us, Some((5500, b"csi".to_vec()))))
}

#[test]
fn both_byte_orders_both_resolutions_and_every_link() {
    for (link_type, packet) in packets() {
        for (big, nanoseconds) in [(false, false), (false, true), (true, false), (true, true)] {
            let file = pcap(big, nanoseconds, link_type, &packet);
            assert_eq!(read(&file), [whole(1_700_000_000_250_000)], "{link_type}");
        }
    }
}

#[test]
fn blocks_of_both_byte_orders_several_sections_and_interfaces() {
    let mut file = Vec::new();
    let mut expected = Vec::new();
    for big in [false, true] {
        let order = Order { big };
        file.extend(order.section());
        for (number, (link_type, packet)) in packets().iter().enumerate() {
            file.extend(order.interface(*link_type, 9));
            // A block of another kind.
            file.extend(order.block(4, &[0; 8]));
            let time = 1_700_000_000_250_000_999;
            file.extend(order.packet(number as u32, time, packet));
            expected.push(whole(1_700_000_000_250_000));
        }
        file.extend(order.interface(101, 0x80 | 10));
        let halves = 1_700_000_000 * 1024 + 512;
        file.extend(order.packet(10, halves, &ipv4(b"csi")));
        expected.push(whole(1_700_000_000_500_000));
    }
    assert_eq!(read(&file), expected);
}

#[test]
fn a_damaged_block_costs_itself_and_a_cut_one_is_one_error() {
    let order = Order { big: false };
    let packet = ipv4(b"csi");
    let start = [order.section(), order.interface(101, 6)].concat();
    let good = order.packet(0, 1_000_000, &packet);
    // Of an interface that was never described; and one whose captured length is longer than the block.
    let foreign = order.packet(7, 0, &packet);
    let mut long = good.clone();
    long[20..24].copy_from_slice(&9999_u32.to_le_bytes());
    let file = [&start[..], &foreign, &long, &good, &good[..40]].concat();
    let all = read(&file);
    assert_eq!(all.len(), 4, "{all:?}");
    assert_eq!(all[0].clone().unwrap_err().code(), "damaged_block");
    assert_eq!(all[1].clone().unwrap_err().code(), "damaged_block");
    assert_eq!(all[2], whole(1_000_000));
    assert_eq!(all[3].clone().unwrap_err().code(), "truncated");
    for length in start.len() + 1..start.len() + good.len() {
        let file = [&start[..], &good].concat();
        let all = read(&file[..length]);
        assert_eq!(all.len(), 1, "{length}");
        assert_eq!(all[0].clone().unwrap_err().code(), "truncated");
    }
}

#[test]
fn a_cut_pcap_is_one_error() {
    let (link_type, packet) = (101, ipv4(b"csi"));
    let file = pcap(false, false, link_type, &packet);
    for length in 25..file.len() {
        let all = read(&file[..length]);
        assert_eq!(all.len(), 1, "{length}");
        assert_eq!(all[0].clone().unwrap_err().code(), "truncated");
    }
}

#[test]
fn what_is_no_udp_is_passed_over() {
    let mut tcp = ipv4(b"csi");
    tcp[9] = 6;
    let mut fragment = ipv4(b"csi");
    fragment[7] = 1;
    for packet in [tcp, fragment, vec![0x45], vec![], vec![0x60; 41]] {
        let all = read(&pcap(false, false, 101, &packet));
        assert_eq!(all, [Ok((1_700_000_000_250_000, None))]);
    }
    // Captured in part: the part is there, for its decoder to refuse.
    let cut = ipv4(b"csi-of-more-bytes");
    let all = read(&pcap(false, false, 101, &cut[..cut.len() - 4]));
    let payload = Some((5500, b"csi-of-more-b".to_vec()));
    assert_eq!(all, [Ok((1_700_000_000_250_000, payload))]);
}

/// What an interface of a link without a known header captured is not taken for IP.
#[test]
fn an_interface_of_an_unknown_link_is_named_and_its_packets_passed_over() {
    let order = Order { big: false };
    let file = [
        order.section(),
        order.interface(147, 6),
        order.interface(101, 6),
        order.packet(0, 7, &ipv4(b"csi")),
        order.packet(1, 7, &ipv4(b"csi")),
    ]
    .concat();
    let all = read(&file);
    assert_eq!((all.len(), all[0].is_err()), (3, true));
    assert_eq!(all[1], Ok((7, None)));
    assert_eq!(all[2], Ok((7, Some((5500, b"csi".to_vec())))));
}

#[test]
fn what_is_no_capture_is_refused() {
    let order = Order { big: false };
    let mut section = order.section();
    section[8] = 0;
    assert_eq!(
        Capture::open(&section).unwrap_err().code(),
        "wrong_byte_order"
    );
    assert_eq!(
        Capture::open(&pcap(false, false, 147, &[])).unwrap_err(),
        Error::LinkType { found: 147 }
    );
    assert_eq!(Capture::open(b"pcap").unwrap_err().code(), "wrong_magic");
    assert_eq!(Capture::open(b"").unwrap_err().code(), "truncated");
}
