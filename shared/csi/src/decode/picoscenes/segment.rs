//! The segments of a PicoScenes frame.

use serde::Serialize;

/// Reads fields one behind the other, little-endian.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn i8(&mut self) -> Option<i8> {
        self.array().map(i8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// One segment.
pub(super) struct Segment<'a> {
    pub(super) name: String,
    pub(super) version: u16,
    pub(super) data: &'a [u8],
}

impl<'a> Segment<'a> {
    /// The next one: a length that does not count itself, a name behind its length, a version, the data.
    pub(super) fn next(fields: &mut Fields<'a>) -> Option<Self> {
        let length = fields.u32()?;
        let mut inner = Fields(fields.take(length.try_into().ok()?)?);
        let length = inner.u8()?;
        let name = inner.take(length.into())?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Self {
            name: String::from_utf8_lossy(name).into_owned(),
            version: inner.u16()?,
            data: inner.0,
        })
    }
}

/// What the receiver says of the packet. Fields that a version lacks are absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RxBasic {
    /// Version of the segment.
    #[serde(skip)]
    pub version: u16,
    /// Which card.
    pub device_type: u16,
    /// Microseconds; nanoseconds from a software radio; 0 where the card's own clock stands in MVMExtra.
    pub timestamp: u64,
    /// Time of reception by the host's clock, in nanoseconds since the Unix epoch.
    #[serde(rename = "systemTime", skip_serializing_if = "Option::is_none")]
    pub system_time: Option<u64>,
    /// Centre of the channel in MHz.
    pub freq: u16,
    /// Centre of the second part of a channel in two parts, in MHz.
    #[serde(rename = "freq2", skip_serializing_if = "Option::is_none")]
    pub second_freq: Option<u16>,
    /// Centre of the primary channel in MHz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_freq: Option<u16>,
    /// Width of the channel in MHz.
    pub cbw: u16,
    /// Packet format.
    pub packet_format: i8,
    /// Width of the packet in MHz.
    #[serde(rename = "pkt_cbw", skip_serializing_if = "Option::is_none")]
    pub packet_cbw: Option<u16>,
    /// Guard interval in ns.
    pub gi: u16,
    /// Modulation and coding scheme.
    pub mcs: u8,
    /// Space-time streams.
    #[serde(rename = "numSTS")]
    pub num_sts: u8,
    /// Extension streams.
    #[serde(rename = "numESS")]
    pub num_ess: u8,
    /// Receive chains.
    pub num_rx: u8,
    /// Users of the packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_user: Option<u8>,
    /// Which of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_index: Option<u8>,
    /// Noise floor in dBm.
    pub noise: i8,
    /// RSSI: in version 1 above the noise floor, later in dBm.
    pub rssi: i8,
    /// RSSI of each chain: three, eight from version 5 on.
    #[serde(rename = "rssi_ctl")]
    pub rssi_ctl: Vec<i8>,
}

impl RxBasic {
    pub(super) fn read(version: u16, data: &[u8]) -> Option<Self> {
        let mut fields = Fields(data);
        let device_type = fields.u16()?;
        let timestamp = fields.u64()?;
        let system_time = if version >= 4 {
            Some(fields.u64()?)
        } else {
            None
        };
        let freq = fields.u16()?;
        let second_freq = if version >= 5 {
            Some(fields.u16()?)
        } else {
            None
        };
        let later = version >= 3;
        let control_freq = if later { Some(fields.u16()?) } else { None };
        let (cbw, packet_format) = if later {
            (fields.u16()?, fields.i8()?)
        } else {
            let packet_format = fields.i8()?;
            (fields.u16()?, packet_format)
        };
        let packet_cbw = if later { Some(fields.u16()?) } else { None };
        let gi = fields.u16()?;
        let [mcs, num_sts, num_ess, num_rx] = fields.array()?;
        let users = if version >= 2 {
            let [num_user, user_index] = fields.array()?;
            (Some(num_user), Some(user_index))
        } else {
            (None, None)
        };
        Some(Self {
            version,
            device_type,
            timestamp,
            system_time,
            freq,
            second_freq,
            control_freq,
            cbw,
            packet_format,
            packet_cbw,
            gi,
            mcs,
            num_sts,
            num_ess,
            num_rx,
            num_user: users.0,
            user_index: users.1,
            noise: fields.i8()?,
            rssi: fields.i8()?,
            rssi_ctl: (0..if version >= 5 { 8 } else { 3 })
                .map(|_| fields.i8())
                .collect::<Option<Vec<i8>>>()?,
        })
    }
}

/// What stands before the CSI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CsiHeader {
    /// Version of the segment.
    pub ver: u16,
    /// Which card.
    #[serde(rename = "deviceType")]
    pub device_type: u16,
    /// Version of the firmware's format.
    #[serde(rename = "fw", skip_serializing_if = "Option::is_none")]
    pub firmware: Option<u8>,
    /// Packet format.
    #[serde(rename = "packetFormat")]
    pub packet_format: i8,
    /// Width in MHz.
    pub cbw: u16,
    /// Carrier in Hz.
    pub carrier: u64,
    /// Sampling rate in Hz.
    pub srate: u64,
    /// Distance of subcarriers in Hz.
    pub sbw: u32,
    /// Subcarriers.
    pub nt: u16,
    /// Space-time streams.
    pub nsts: u8,
    /// Receive chains.
    pub nrx: u8,
    /// Extension streams.
    pub ness: u8,
    /// Measurements on the packet.
    #[serde(rename = "ncsi", skip_serializing_if = "Option::is_none")]
    pub measurements: Option<u16>,
    /// Antenna selection of the 5300, not applied.
    pub antsel: u8,
    /// Added to subcarrier indices.
    pub scoff: i16,
    /// Bytes of the buffer.
    pub len: u32,
}

impl CsiHeader {
    /// The header, and the buffer behind it.
    pub(super) fn read(ver: u16, data: &[u8]) -> Option<(Self, &[u8])> {
        let mut fields = Fields(data);
        let device_type = fields.u16()?;
        let firmware = if ver >= 4 { Some(fields.u8()?) } else { None };
        let packet_format = fields.i8()?;
        let cbw = fields.u16()?;
        let (carrier, srate, sbw) = (fields.u64()?, fields.u64()?, fields.u32()?);
        let nt = fields.u16()?;
        let [nsts, nrx, ness] = fields.array()?;
        let measurements = if ver >= 3 { Some(fields.u16()?) } else { None };
        let antsel = fields.u8()?;
        let scoff = if ver >= 2 { fields.i16()? } else { 0 };
        let len = fields.u32()?;
        let header = Self {
            ver,
            device_type,
            firmware,
            packet_format,
            cbw,
            carrier,
            srate,
            sbw,
            nt,
            nsts,
            nrx,
            ness,
            measurements,
            antsel,
            scoff,
            len,
        };
        Some((header, fields.take(len.try_into().ok()?)?))
    }
}

/// What the firmware of an AX200 or AX210 says of the packet, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MvmExtra {
    /// Clock of 320 MHz, wraps.
    pub ftm_clock: u32,
    /// Clock in microseconds, wraps.
    pub mu_clock_us: u32,
}

impl MvmExtra {
    /// Of the segment: a length, then the header that FeitCSI records too.
    pub(super) fn read(data: &[u8]) -> Option<Self> {
        let header = data.get(2..)?;
        Some(Self {
            ftm_clock: super::super::record::u32_at(header, 8)?,
            mu_clock_us: super::super::record::u32_at(header, 88)?,
        })
    }
}
