use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn keys() -> Keys {
    Keys::load(None, &format!("adr018:7 {KEY}, adr018:8={KEY}")).unwrap()
}

fn key() -> Key {
    Key::new(&hex::decode(KEY).unwrap()).unwrap()
}

fn check(keys: &mut Keys, id: &str, datagram: &[u8]) -> Result<(), Refusal> {
    let (payload, trailer) = split(datagram);
    keys.check(id, payload, trailer.as_ref())
}

#[test]
fn the_trailer_is_what_an_independent_hmac_says() {
    // printf 'frame\x05\0\0\0\0\0\0\0' | openssl dgst -sha256 -mac HMAC -macopt hexkey:KEY
    let datagram = key().sign(b"frame", 5);
    assert_eq!(datagram.len(), 5 + TRAILER_BYTES);
    assert_eq!(&datagram[..9], b"frameFSG1");
    assert_eq!(&datagram[9..17], &5_u64.to_le_bytes());
    assert_eq!(
        hex::encode(&datagram[17..]),
        "2ad7b8b8804ec75fedb619aa0b014edd"
    );
}

#[test]
fn what_is_signed_passes_once() {
    let mut keys = keys();
    let datagram = key().sign(b"frame", 1);
    assert_eq!(check(&mut keys, "adr018:7", &datagram), Ok(()));
    assert_eq!(
        check(&mut keys, "adr018:7", &datagram),
        Err(Refusal::Replayed)
    );
    assert_eq!(
        check(&mut keys, "adr018:8", &datagram),
        Ok(()),
        "another device counts for itself"
    );
    assert_eq!(check(&mut keys, "adr018:9", &datagram), Err(Refusal::NoKey));
    assert_eq!(
        check(&mut keys, "adr018:7", b"frame"),
        Err(Refusal::Unsigned)
    );
}

#[test]
fn every_changed_bit_is_noticed() {
    let mut keys = keys();
    let datagram = key().sign(b"a frame of some length", 9);
    for bit in 0..datagram.len() * 8 {
        let mut changed = datagram.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&mut keys, "adr018:7", &changed).is_err(), "bit {bit}");
    }
    assert_eq!(
        check(&mut keys, "adr018:7", &datagram),
        Ok(()),
        "and none of them moved the window"
    );
}

#[test]
fn the_window_is_that_of_rfc_4303() {
    let mut window = Window::default();
    for (sequence, fresh) in [
        (100, true),
        (100, false),
        (99, true),
        (99, false),
        (37, true),
        (36, false),
        (164, true),
        (101, true),
        (100, false),
        (u64::MAX, true),
        (165, false),
        (u64::MAX, false),
        (u64::MAX - 63, true),
    ] {
        assert_eq!(window.fresh(sequence), fresh, "{sequence}");
        if fresh {
            window.note(sequence);
        }
    }
    let mut from_zero = Window::default();
    assert!(from_zero.fresh(0));
    from_zero.note(0);
    assert!(!from_zero.fresh(0) && from_zero.fresh(1));
}

proptest! {
    /// Against the plain definition: seen before, or 64 and more behind the newest.
    #[test]
    fn no_sequence_passes_twice(steps in prop::collection::vec(0_u64..200, 1..300)) {
        let (mut window, mut seen) = (Window::default(), std::collections::BTreeSet::new());
        for sequence in steps {
            let newest = seen.last().copied().unwrap_or(sequence);
            let expected = !seen.contains(&sequence) && sequence + WINDOW > newest;
            prop_assert_eq!(window.fresh(sequence), expected);
            if expected {
                window.note(sequence);
                seen.insert(sequence);
            }
        }
    }
}

#[test]
fn keys_lie_in_a_file_of_their_owner() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("# the lamp\nadr018:7 {KEY}\n\n")).unwrap();
    let mode = |mode| std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode));
    mode(0o640).unwrap();
    let error = Keys::load(Some(file.path()), "").unwrap_err().to_string();
    assert!(error.contains("others may read it (mode 0640)"), "{error}");
    mode(0o600).unwrap();
    let mut keys = Keys::load(Some(file.path()), "").unwrap();
    assert_eq!(check(&mut keys, "adr018:7", &key().sign(b"x", 1)), Ok(()));
    for (text, words) in [
        ("adr018:7", "a key in hex"),
        ("adr018:7 xyz", "no hex"),
        ("adr018:7 0011", "16 bytes"),
        (
            &*format!("a {KEY},a {KEY}"),
            "entry 2 of keys_secret: this device has a key",
        ),
    ] {
        let error = Keys::load(None, text).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains(KEY), "{error}");
    }
    assert!(!format!("{keys:?}").contains("0001"), "{keys:?}");
}
