use num_complex::Complex32;

use super::{Decoder, Error, SIMULATED_LINE, write_line};
use crate::layout::{self, Fields, Order};
use crate::{Frame, Ppdu, SampleFormat};

const ESP_CSI: &str =
    "CSI_DATA,9,aa:bb:cc:00:11:22,-52,11,1,7,0,1,1,1,0,0,1,-91,1,11,0,4294967000,0,100,0,256,0,";
const ESP_CSI_SHORT: &str = "CSI_DATA,9,aa:bb:cc:00:11:22,-40,11,-95,25,17,36,1000,100,0,128,1,";
const CSI_TOOL: &str = "CSI_DATA,AP,AA:BB:CC:00:11:22,-72,11,0,0,0,0,0,0,0,0,0,-96,0,6,1,8346021,0,28,0,0,8.50623,384,";

fn list(values: usize) -> String {
    let values: Vec<String> = (0..values)
        .map(|value| (value as i32 % 256 - 128).to_string())
        .collect();
    format!("[{} ]", values.join(" "))
}

fn decode(line: &str) -> Result<Option<Frame>, Error> {
    Decoder::new().line(line.as_bytes(), None)
}

fn frame(line: &str) -> Frame {
    decode(line).unwrap().unwrap()
}

#[test]
fn twenty_five_columns() {
    let found = frame(&format!("{ESP_CSI}{}", list(256)));
    assert_eq!((found.sequence, found.counted), (9, true));
    assert_eq!(
        (found.device_time_us, found.receive_time_us),
        (Some(4_294_967_000), 4_294_967_000)
    );
    assert_eq!(
        (found.rssi_dbm.as_slice(), found.noise_floor_dbm, found.agc),
        (&[-52][..], Some(-91), None)
    );
    assert_eq!(
        (found.channel, found.frequency_mhz, found.bandwidth_mhz),
        (Some(11), Some(2462), Some(20))
    );
    assert_eq!(
        (found.ppdu, found.layout.name),
        (Ppdu::Ht, "esp32-lltf64-ht64")
    );
    assert_eq!(
        found.transmitter,
        Some([0xaa, 0xbb, 0xcc, 0x00, 0x11, 0x22])
    );
    assert_eq!(found.samples[0], Complex32::new(-127.0, -128.0));
    assert_eq!(found.format, SampleFormat::Ci8);
}

#[test]
fn fifteen_columns() {
    let found = frame(&format!("{ESP_CSI_SHORT}{}", list(128)));
    assert_eq!(
        (found.rssi_dbm.as_slice(), found.noise_floor_dbm, found.agc),
        (&[-40][..], Some(-95), Some(17))
    );
    assert_eq!(
        (found.channel, found.frequency_mhz, found.bandwidth_mhz),
        (Some(36), Some(5180), None)
    );
    assert_eq!(
        (found.layout.name, found.device_time_us),
        ("esp32-lltf64-w", Some(1000))
    );
    // A count that only `len` vouches for: nothing is known about its order.
    let other = ESP_CSI_SHORT.replace(",128,1,", ",114,0,");
    assert_eq!(
        frame(&format!("{other}{}", list(114))).layout.name,
        "positions"
    );
    assert_eq!(
        decode(&format!("{other}{}", list(112))).unwrap_err().code(),
        "value_count"
    );
}

#[test]
fn twenty_six_columns() {
    let found = frame(&format!("{CSI_TOOL}{}", list(128)));
    assert_eq!((found.sequence, found.counted), (0, false));
    assert_eq!(
        (found.device_time_us, found.receive_time_us),
        (Some(8_346_021), 8_346_021)
    );
    assert_eq!(
        (found.ppdu, found.layout.name),
        (Ppdu::NonHt, "esp32-lltf64-asc-w")
    );
    // Only a device that knows the time has a wall time.
    let set = CSI_TOOL.replace(",0,8.50623,", ",1,1700000000.50623,");
    let found = frame(&format!("{set}{}", list(128)));
    assert_eq!(
        (found.device_time_us, found.receive_time_us),
        (Some(8_346_021), 1_700_000_000_506_230)
    );
}

#[test]
fn the_time_of_reception_counts_where_it_is_given() {
    let found = Decoder::new()
        .line(format!("{CSI_TOOL}{}", list(128)).as_bytes(), Some(77))
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.device_time_us, found.receive_time_us),
        (Some(8_346_021), 77)
    );
}

#[test]
fn a_quoted_list_with_commas_is_the_same() {
    let blanks = format!("{ESP_CSI}{}", list(256));
    let commas = format!(
        "{ESP_CSI}\"{}\"\r\n",
        list(256).replace(" ]", "]").replace(' ', ",")
    );
    let (blanks, mut commas) = (frame(&blanks), frame(&commas));
    assert!(commas.raw_size >= blanks.raw_size);
    commas.raw_size = blanks.raw_size;
    assert_eq!(blanks, commas);
}

#[test]
fn secondary_channel_bandwidth_and_stbc_choose_the_layout() {
    let line = |bandwidth: u8, stbc: u8, secondary: u8, first_word: u8, values: usize| {
        let before = format!(
            "CSI_DATA,1,aa:bb:cc:00:11:22,-52,11,1,7,{bandwidth},1,1,1,{stbc},0,1,-91,1,11,{secondary},5,0,100,0,{values},{first_word},"
        );
        frame(&format!("{before}{}", list(values))).layout.name
    };
    assert_eq!(line(0, 0, 0, 0, 128), "esp32-lltf64");
    assert_eq!(line(0, 0, 0, 1, 128), "esp32-lltf64-w");
    assert_eq!(line(0, 0, 2, 0, 128), "esp32-lltf64-asc");
    assert_eq!(line(0, 0, 0, 1, 256), "esp32-lltf64-ht64-w");
    assert_eq!(line(0, 0, 1, 1, 256), "esp32-lltf64-ht64-asc-w");
    assert_eq!(line(0, 1, 0, 0, 384), "esp32-lltf64-ht64-stbc64");
    assert_eq!(line(1, 0, 1, 0, 384), "esp32-lltf64-ht128-asc");
    assert_eq!(line(1, 1, 1, 0, 612), "esp32-lltf64-ht121-stbc121-asc");
}

#[test]
fn what_is_no_frame_is_passed_over() {
    for line in [
        "",
        "\r\n",
        "type,id,mac,rssi,rate",
        "# a remark",
        "I (312) wifi:mode : sta (7c:df:a1:00:00:01)",
        "\u{1b}[0;32mI (1200) csi_recv: ================ CSI RECV ================\u{1b}[0m",
    ] {
        assert_eq!(decode(line), Ok(None), "{line:?}");
    }
}

#[test]
fn damaged_lines_name_the_column() {
    let good = format!("{ESP_CSI}{}", list(256));
    let check = |line: &str, code: &str, part: &str| {
        let error = decode(line).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    check(
        &good.replace(",-52,", ",-5x2,"),
        "bad_field",
        "field 4 (rssi)",
    );
    check(&good.replace(",-52,", ",-152,"), "bad_field", "\"-152\"");
    check(&good.replace("aa:bb", "aa:b"), "bad_field", "field 3 (mac)");
    check(
        &good.replace("aa:bb", "+a:bb"),
        "bad_field",
        "field 3 (mac)",
    );
    check(
        &good.replace(",4294967000,", ",4294967296,"),
        "bad_field",
        "local_timestamp",
    );
    check(
        &good.replace(",256,0,", ",256,2,"),
        "bad_field",
        "field 24 (first_word)",
    );
    check(&good.replace(",-91,", ","), "field_count", "found 23");
    check(&good.replace("[", ""), "no_list", "25 fields");
    check(
        &good.replacen(' ', " 128 ", 1),
        "bad_value",
        "value 2 of the list",
    );
    check(&good.replacen(' ', " 1-2 ", 1), "bad_value", "\"1-2\"");
    check(&good.replacen(' ', " 1 ", 1), "odd_values", "257");
    check("5 4 -3 ]", "not_csi_data", "\"5 4 -3 ]\"");
    check("SI_DATA,9,aa", "not_csi_data", "SI_DATA");
    check(&format!("{ESP_CSI}[]"), "value_count", "0 values");
    check(
        &format!("{ESP_CSI}{}", list(254)),
        "value_count",
        "254 values",
    );
    check(
        &format!("CSI_DATA,{}", "1 ".repeat(9000)),
        "line_too_long",
        "18009",
    );
}

/// A cut anywhere gives one error and no frame.
#[test]
fn every_truncation_is_an_error() {
    let good = format!("{CSI_TOOL}{}", list(128));
    for length in 1..good.len() {
        assert!(
            decode(&good[..length]).is_err(),
            "{length}: {}",
            &good[..length]
        );
    }
    let error = decode(&good[..good.len() - 20]).unwrap_err();
    assert_eq!(error.code(), "truncated");
}

#[test]
fn lines_run_together_are_one_error_and_the_next_line_goes_on() {
    let good = format!("{ESP_CSI}{}", list(256));
    let mut decoder = Decoder::new();
    assert!(decoder.line(good.as_bytes(), None).unwrap().is_some());
    let whole = decoder
        .line(format!("{good}{good}").as_bytes(), None)
        .unwrap_err();
    assert_eq!(whole.code(), "lines_run_together");
    let cut = decoder
        .line(format!("{}{good}", &good[..200]).as_bytes(), None)
        .unwrap_err();
    assert!(matches!(cut, Error::Value { .. }), "{cut}");
    let next = good.replace(",4294967000,", ",704,");
    let frame = decoder.line(next.as_bytes(), None).unwrap().unwrap();
    // The clock has wrapped once since the first line; the damaged ones did not touch it.
    assert_eq!(frame.device_time_us, Some((1 << 32) + 704));
    assert_eq!(decoder.restarts(), 0);
}

#[test]
fn a_restart_of_the_device_is_seen() {
    let mut decoder = Decoder::new();
    let line = |clock: u32| ESP_CSI.replace("4294967000", &clock.to_string()) + &list(256);
    let mut time = |clock| {
        decoder
            .line(line(clock).as_bytes(), None)
            .unwrap()
            .unwrap()
            .device_time_us
            .unwrap()
    };
    assert_eq!(
        (time(90_000_000), time(90_100_000)),
        (90_000_000, 90_100_000)
    );
    assert_eq!(time(300_000), 90_400_000);
    assert_eq!(decoder.restarts(), 1);
}

#[test]
fn what_is_written_reads_the_same() {
    for fields in [
        Fields::Legacy,
        Fields::LegacyHt20,
        Fields::LegacyHt20Stbc,
        Fields::LegacyHt40,
    ] {
        for (order, first_word_invalid) in [
            (Order::Fft, false),
            (Order::Fft, true),
            (Order::Ascending, false),
            (Order::Ascending, true),
        ] {
            let layout = layout::esp32(fields, order, first_word_invalid);
            let mut original = frame(&format!("{ESP_CSI}{}", list(256)));
            original.samples = (0..layout.len())
                .map(|k| Complex32::new(k as f32 % 7.0 - 3.0, -(k as f32 % 5.0)))
                .collect();
            original.bandwidth_mhz = Some(fields.bandwidth_mhz());
            original.layout = layout;
            original.simulated = true;
            let mut text = format!("{SIMULATED_LINE}, scenario 3\n");
            write_line(&original, &mut text).unwrap();
            let mut decoder = Decoder::new();
            let mut lines = text
                .lines()
                .filter_map(|line| decoder.line(line.as_bytes(), None).unwrap());
            let mut found = lines.next().unwrap();
            found.raw_size = original.raw_size;
            assert_eq!(found, original);
        }
    }
}

const HEADER_SHORT: &str = "type,seq,mac,rssi,rate,noise_floor,fft_gain,agc_gain,channel,local_timestamp,sig_len,rx_state,len,first_word,data";

/// A list of this layout: 1 where it has a measurement, 0 elsewhere.
fn list_of(fields: Fields, order: Order) -> String {
    let layout = layout::esp32(fields, order, false);
    let pair = |valid: &bool| if *valid { "3,-2" } else { "0,0" };
    let pairs: Vec<&str> = layout.valid.iter().map(pair).collect();
    format!("\"[{}]\"", pairs.join(","))
}

#[test]
fn c5_and_c6_buffers_are_told_by_their_zeros() {
    for (fields, samples, ppdu, bandwidth) in [
        (Fields::Legacy53, 53, Ppdu::Unknown, None),
        (Fields::Ht57, 57, Ppdu::Ht, Some(20)),
        (Fields::Ht57Stbc, 114, Ppdu::Ht, Some(20)),
        (Fields::Ht117, 117, Ppdu::Ht, Some(40)),
        (Fields::Ht40, 128, Ppdu::Ht, Some(40)),
        (Fields::Ht117Stbc, 234, Ppdu::Ht, Some(40)),
        (Fields::He245, 245, Ppdu::He, Some(20)),
        (Fields::He256, 256, Ppdu::He, Some(20)),
    ] {
        for order in [Order::Fft, Order::Ascending] {
            let before = ESP_CSI_SHORT.replace(",128,1,", &format!(",{},0,", 2 * samples));
            let found = frame(&format!("{before}{}", list_of(fields, order)));
            let expected = layout::esp32(fields, order, false);
            assert!(
                std::sync::Arc::ptr_eq(&found.layout, &expected),
                "{fields:?}"
            );
            assert_eq!((found.layout.len(), found.ppdu), (samples, ppdu));
            assert_eq!(found.bandwidth_mhz, bandwidth);
        }
        // Without its zeros nothing tells the order, and nothing is guessed.
        let full = vec!["3,-2"; samples].join(",");
        let before = ESP_CSI_SHORT.replace(",128,1,", &format!(",{},0,", 2 * samples));
        let found = frame(&format!("{before}\"[{full}]\""));
        assert_eq!(found.layout.name, "positions");
    }
}

/// The tables of Espressif's guide, of the first generations and of the C5.
#[test]
fn subcarriers_of_every_layout_are_those_of_the_tables() {
    let indices =
        |fields, order| -> Vec<i16> { layout::esp32(fields, order, false).subcarriers.to_vec() };
    let fft = |n: i16| (0..n).chain(-n..0);
    let stbc40 = || (0..=60).chain(-60..0);
    let (f, a) = (Order::Fft, Order::Ascending);
    let twice = |one: Vec<i16>| [one.clone(), one].concat();
    assert_eq!(indices(Fields::LegacyHt20, f), twice(fft(32).collect()));
    // Below: 0 to 63 of the 40 MHz channel, whose upper half is the 20 MHz one; above: -64 to -1.
    assert_eq!(
        indices(Fields::LegacyHt20, a),
        twice((0..64).map(|k| k - 32).collect())
    );
    assert_eq!(
        indices(Fields::LegacyHt20, a),
        twice((-64..0).map(|k| k + 32).collect())
    );
    let legacy: Vec<i16> = (-32..32).collect();
    let below = twice((0..63).map(|k| k - 32).collect());
    let above = twice((-62..0).map(|k| k + 32).collect());
    assert_eq!(
        indices(Fields::LegacyHt20StbcBelow, a),
        [legacy.clone(), below].concat()
    );
    assert_eq!(
        indices(Fields::LegacyHt20StbcAbove, a),
        [legacy.clone(), above].concat()
    );
    assert_eq!(
        indices(Fields::LegacyHt40, a),
        [legacy.clone(), fft(64).collect()].concat()
    );
    let two: Vec<i16> = stbc40().chain(stbc40()).collect();
    assert_eq!(indices(Fields::LegacyHt40Stbc, a), [legacy, two].concat());
    assert_eq!(
        indices(Fields::Ht57, f),
        (0..=28).chain(-28..0).collect::<Vec<_>>()
    );
    assert_eq!(indices(Fields::Ht57, a), (-28..=28).collect::<Vec<_>>());
    assert_eq!(indices(Fields::Legacy26, a)[..3], [-26, -24, -22]);
    let measured = |fields| layout::esp32(fields, a, false).measured().count();
    for (fields, count) in [
        (Fields::Legacy53, 52),
        (Fields::Legacy26, 26),
        (Fields::Ht57, 56),
        (Fields::Ht117, 114),
        (Fields::Ht40, 114),
        (Fields::He245, 242),
        (Fields::He256, 242),
        (Fields::LegacyHt20StbcAbove, 52 + 56 + 56),
    ] {
        assert_eq!(measured(fields), count, "{fields:?}");
    }
}

#[test]
fn lengths_of_the_first_generations() {
    let line = |bandwidth: u8, stbc: u8, secondary: u8, values: usize| {
        let before = format!(
            "CSI_DATA,1,aa:bb:cc:00:11:22,-52,11,1,7,{bandwidth},1,1,1,{stbc},0,1,-91,1,11,{secondary},5,0,100,0,{values},0,"
        );
        frame(&format!("{before}{}", list(values))).layout.name
    };
    assert_eq!(line(0, 1, 2, 380), "esp32-lltf64-ht63-stbc63-asc");
    assert_eq!(line(0, 1, 1, 376), "esp32-lltf64-ht62-stbc62-asc");
    assert_eq!(line(1, 0, 1, 256), "esp32-ht128");
    assert_eq!(line(1, 1, 1, 484), "positions");
}

#[test]
fn twelve_bits_in_halves_or_as_numbers() {
    let value = |k: i16| (k - 26) * 70;
    let numbers: Vec<String> = (0..52).map(|k| value(k).to_string()).collect();
    let halves = |k| {
        let [low, high] = value(k).to_le_bytes();
        // The upper half comes without the sign.
        [i16::from(low as i8), i16::from(high & 15)]
    };
    let mut bytes: Vec<String> = (0..52).flat_map(halves).map(|b| b.to_string()).collect();
    bytes.extend(["1".to_owned(), "0".to_owned()]);
    for (len, list) in [(52, numbers), (106, bytes)] {
        let before = ESP_CSI_SHORT.replace(",128,1,", &format!(",{len},0,"));
        let found = frame(&format!("{before}\"[{}]\"", list.join(",")));
        assert_eq!(found.layout.name, "esp32-lltf26-12bit-asc");
        assert_eq!(found.format, SampleFormat::Ci16);
        let expected: Vec<Complex32> = (0..26)
            .map(|k| Complex32::new(f32::from(value(2 * k + 1)), f32::from(value(2 * k))))
            .collect();
        assert_eq!(found.samples, expected, "{len}");
    }
    // Elsewhere a value beyond 8 bits is a fault.
    let line = format!("{ESP_CSI_SHORT}{}", list(128).replace("-128", "-129"));
    assert_eq!(decode(&line).unwrap_err().code(), "bad_value");
}

#[test]
fn a_header_says_which_column_is_which() {
    let mut decoder = Decoder::new();
    let mut read = |line: &str| decoder.line(line.as_bytes(), None);
    // As esp-csi writes it for the C5: the usual order.
    assert_eq!(read(HEADER_SHORT), Ok(None));
    let usual = read(&format!("{ESP_CSI_SHORT}{}", list(128)))
        .unwrap()
        .unwrap();
    assert_eq!((usual.sequence, usual.counted), (9, true));
    // Another order, columns that nobody knows, and some behind the list.
    assert_eq!(
        read("\"rssi\",weather,len,data,channel,mac,type,host_time"),
        Ok(None)
    );
    let values = list(128).replace(" ]", "]").replace(' ', ",");
    let line = format!("-61,rain,128,\"{values}\",44,aa:bb:cc:00:11:22,CSI_DATA,1607774756.97");
    let found = read(&line).unwrap().unwrap();
    assert_eq!(found.samples, usual.samples);
    assert_eq!(
        (found.rssi_dbm.as_slice(), found.channel, found.transmitter),
        (
            &[-61][..],
            Some(44),
            Some([0xaa, 0xbb, 0xcc, 0, 0x11, 0x22])
        )
    );
    assert_eq!((found.noise_floor_dbm, found.device_time_us), (None, None));
    assert!(!found.counted);
    for (damaged, code) in [
        (line.replace(",44,", ",4x4,"), "bad_field"),
        (line.replace(",44,", ","), "field_count"),
        (line.replace("CSI_DATA", "CSI_DAT"), "not_csi_data"),
        (line[..line.len() - 60].to_owned(), "truncated"),
        (line.replacen(",-7,", ",-777,", 1), "bad_value"),
    ] {
        assert_eq!(read(&damaged).unwrap_err().code(), code, "{damaged}");
    }
    // What does not fit the header and is of a known set is still read.
    assert!(read(&format!("{CSI_TOOL}{}", list(128))).unwrap().is_some());
    assert!(read(&line).unwrap().is_some());
}
