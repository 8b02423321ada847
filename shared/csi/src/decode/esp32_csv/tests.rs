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
