//! The writer of 25-column lines, for the simulator and for tests.

use std::fmt::Write as _;

use crate::decode::adr018::EncodeError;
use crate::{Frame, Ppdu};

/// How the first line of a simulated file begins.
pub const SIMULATED_LINE: &str = "# simulated by fresnel";

/// Appends a frame as one 25-column line, its end included.
///
/// The device time is written modulo 2^32 (the time of reception where there is no device time); what the frame does not
/// say is 0. `first_word` and `secondary_channel` follow from the layout.
///
/// # Errors
/// Where the frame has more than one antenna, or a sample is no pair of 8-bit integers. `out` may then end in half a line.
pub fn write_line(frame: &Frame, out: &mut String) -> Result<(), EncodeError> {
    let layout = &frame.layout;
    let subcarriers = layout.len();
    if frame.antennas != 1 || frame.samples.len() != subcarriers {
        let samples = frame.samples.len();
        return Err(EncodeError::Counts {
            antennas: frame.antennas,
            subcarriers,
            samples,
        });
    }
    let mac = frame.transmitter.unwrap_or_default();
    let sig_mode = match frame.ppdu {
        Ppdu::Unknown | Ppdu::NonHt => 0,
        Ppdu::Ht => 1,
        Ppdu::Vht | Ppdu::He | Ppdu::Eht => 3,
    };
    let ascending = layout.subcarriers.first() == Some(&-32);
    let first_word = if ascending {
        layout.name.ends_with("-w")
    } else {
        layout.valid.get(1) == Some(&false)
    };
    let clock = frame
        .device_time_us
        .unwrap_or_else(|| u64::try_from(frame.receive_time_us).unwrap_or(0));
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "CSI_DATA,{id},{m0:02x}:{m1:02x}:{m2:02x}:{m3:02x}:{m4:02x}:{m5:02x},{rssi},0,{sig_mode},0,{wide},0,0,0,{stbc},0,0,\
         {noise},0,{channel},{secondary},{clock},0,0,0,{len},{first_word},[",
        id = frame.sequence,
        m0 = mac[0],
        m1 = mac[1],
        m2 = mac[2],
        m3 = mac[3],
        m4 = mac[4],
        m5 = mac[5],
        rssi = frame.rssi_dbm.first().copied().unwrap_or(0),
        wide = u8::from(frame.bandwidth_mhz == Some(40)),
        stbc = u8::from(layout.name.contains("stbc")),
        noise = frame.noise_floor_dbm.unwrap_or(0),
        channel = frame.channel.unwrap_or(0),
        secondary = u8::from(ascending),
        clock = clock & u64::from(u32::MAX),
        len = 2 * subcarriers,
        first_word = u8::from(first_word),
    );
    for (position, sample) in frame.samples.iter().enumerate() {
        let signed_byte = crate::decode::adr018::signed_byte;
        let (Some(im), Some(re)) = (signed_byte(sample.im), signed_byte(sample.re)) else {
            return Err(EncodeError::Sample { position });
        };
        let _ = write!(out, "{im} {re} ");
    }
    out.push_str("]\n");
    Ok(())
}
