use bytes::Bytes;
use csi::read::{Format, Options, Reader};
use serde_json::Value;

use super::{json, table};

const LINE: &str =
    "CSI_DATA,9,aa:bb:cc:00:11:22,-52,11,1,7,0,1,1,1,0,0,1,-91,1,11,0,5000,0,100,0,128,1,";

fn reader(text: &str) -> Reader {
    Reader::new(
        Bytes::from(text.to_owned()),
        "file",
        Format::Auto,
        Options::default(),
    )
    .unwrap()
}

fn csv() -> String {
    let pairs: Vec<String> = (0..64)
        .map(|position| format!("{} {}", position, -position))
        .collect();
    format!("{LINE}[{} ]\n", pairs.join(" "))
}

fn json_of(text: &str, raw: bool) -> Value {
    let mut reader = reader(text);
    let frame = reader.next().unwrap().unwrap();
    let mut line = String::new();
    json::write(
        &frame,
        3,
        reader.node(),
        reader.has_time(),
        raw,
        reader.header(),
        &mut line,
    );
    assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
    serde_json::from_str(&line).unwrap()
}

#[test]
fn a_frame_as_json() {
    let found = json_of(&csv(), false);
    for (key, expected) in [
        ("index", Value::from(3)),
        ("device_time_us", Value::from(5000)),
        ("rssi_dbm", Value::from(-52)),
        ("noise_floor_dbm", Value::from(-91)),
        ("channel", Value::from(11)),
        ("bandwidth_mhz", Value::from(20)),
        ("antennas", Value::from(1)),
        ("agc", Value::Null),
        ("node", Value::Null),
    ] {
        assert_eq!(found[key], expected, "{key}");
    }
    // Without DC, guards and the first word, each subcarrier with its own sample.
    let subcarriers: Vec<i64> = found["subcarriers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_i64().unwrap())
        .collect();
    assert_eq!(subcarriers, (2..=26).chain(-26..=-1).collect::<Vec<i64>>());
    assert_eq!(
        (
            found["re"].as_array().unwrap().len(),
            found["im"].as_array().unwrap().len()
        ),
        (51, 51)
    );
    assert_eq!(
        (&found["re"][0], &found["im"][0]),
        (&Value::from(-2), &Value::from(2))
    );
    assert_eq!(
        (&found["re"][50], &found["im"][50]),
        (&Value::from(-63), &Value::from(63))
    );
}

#[test]
fn raw_is_every_sample_as_stored() {
    let found = json_of(&csv(), true);
    let expected: Vec<i64> = (0..64).collect();
    assert_eq!(found["im"], Value::from(expected));
    assert_eq!(found["subcarriers"].as_array().unwrap().len(), 64);
    assert_eq!(
        (&found["subcarriers"][0], &found["subcarriers"][32]),
        (&Value::from(0), &Value::from(-32))
    );
}

#[test]
fn amplitudes_have_no_imaginary_part() {
    let amplitudes: Vec<String> = (0..64).map(|amplitude| amplitude.to_string()).collect();
    let header = csi::decode::ialr_csv::HEADER;
    let found = json_of(
        &format!(
            "{header}\ns,1000,2000,0,0,0,-50,64,{}\n",
            amplitudes.join(",")
        ),
        false,
    );
    assert_eq!(
        (&found["im"], &found["noise_floor_dbm"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (&found["re"][0], found["re"].as_array().unwrap().len()),
        (&Value::from(1), 52)
    );
    assert_eq!(
        (&found["device_time_us"], &found["receive_time_us"]),
        (&Value::from(2000), &Value::from(1000))
    );
}

#[test]
fn a_recording_for_people() {
    let text = format!(
        "{}{}",
        csv(),
        csv()
            .replace(",5000,", ",1005000,")
            .replace(",-52,", ",-61,")
    );
    let mut reader = reader(&text);
    let mut summary = table::Summary::new(&reader, 1);
    for frame in reader.by_ref() {
        summary.add(&frame.unwrap(), None, false);
    }
    let text = summary.finish(2, 0);
    for part in [
        "format      esp32-csv\n",
        "frames      2, malformed places 2\n",
        "duration    1.000 s, 1.0 frames per second\n",
        "layout      esp32-lltf64-w: 2 frames of 64 samples, 51 measured\n",
        "transmitter aa:bb:cc:00:11:22: 2 frames\n",
        "RSSI        -61 to -52 dBm\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

/// A record of FeitCSI: two receive chains, 52 subcarriers, samples counted up.
#[test]
fn raw_logs_of_network_cards_are_by_subcarrier_and_chain() {
    let mut record = vec![0; 272];
    record[..4].copy_from_slice(&416_u32.to_le_bytes());
    record[46..48].copy_from_slice(&[2, 1]);
    record[52] = 52;
    record[93] = 1;
    record.extend((0..208_i16).flat_map(i16::to_le_bytes));
    let mut reader = Reader::new(record.into(), "log", Format::Auto, Options::default()).unwrap();
    let frame = reader.next().unwrap().unwrap();
    let of = |raw| -> Value {
        let mut line = String::new();
        json::write(&frame, 0, None, true, raw, reader.header(), &mut line);
        serde_json::from_str(&line).unwrap()
    };
    let raw = of(true);
    let expected: Vec<i64> = (0..52)
        .flat_map(|tone| [2 * tone, 104 + 2 * tone])
        .collect();
    assert_eq!(raw["re"], Value::from(expected));
    assert_eq!(
        (&raw["n_rx"], &raw["n_tx"]),
        (&Value::from(2), &Value::from(1))
    );
    assert_eq!(raw["shape"], Value::from(vec![52, 2, 1]));
    assert_eq!(
        (&raw["csi_bytes"], &raw["n_sub"]),
        (&Value::from(416), &Value::from(52))
    );
    // Without the four pilots, one chain behind the other.
    let plain = of(false);
    let expected: Vec<i64> = (0..104)
        .filter(|place| ![5, 19, 32, 46].contains(&(place % 52)))
        .map(|place| 2 * place)
        .collect();
    assert_eq!(plain["re"], Value::from(expected));
    assert_eq!(plain["csi_bytes"], Value::Null);
}
