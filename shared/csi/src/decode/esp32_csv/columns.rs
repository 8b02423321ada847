//! Which column of a line holds what: the sets that firmware is known to write, or what a header line says.

/// A column that something is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Type,
    Role,
    Id,
    Mac,
    Rssi,
    Rate,
    SigMode,
    Mcs,
    Bandwidth,
    Stbc,
    NoiseFloor,
    AgcGain,
    Channel,
    SecondaryChannel,
    LocalTimestamp,
    SigLen,
    RealTimeSet,
    RealTimestamp,
    Len,
    FirstWord,
    Data,
}

/// Every column with the names that header lines have for it, the usual one first.
const NAMES: [(Name, &[&str]); 21] = [
    (Name::Type, &["type"]),
    (Name::Role, &["role"]),
    (Name::Id, &["id", "seq"]),
    (Name::Mac, &["mac"]),
    (Name::Rssi, &["rssi"]),
    (Name::Rate, &["rate"]),
    (Name::SigMode, &["sig_mode"]),
    (Name::Mcs, &["mcs"]),
    (Name::Bandwidth, &["bandwidth", "cwb"]),
    (Name::Stbc, &["stbc"]),
    (Name::NoiseFloor, &["noise_floor"]),
    (Name::AgcGain, &["agc_gain"]),
    (Name::Channel, &["channel"]),
    (Name::SecondaryChannel, &["secondary_channel"]),
    (Name::LocalTimestamp, &["local_timestamp"]),
    (Name::SigLen, &["sig_len"]),
    (Name::RealTimeSet, &["real_time_set"]),
    (Name::RealTimestamp, &["real_timestamp"]),
    (Name::Len, &["len"]),
    (Name::FirstWord, &["first_word", "first_word_invalid"]),
    (Name::Data, &["data", "CSI_DATA"]),
];

impl Name {
    /// As header lines have it.
    pub(super) fn text(self) -> &'static str {
        let names = NAMES.get(self as usize).map(|(_, names)| *names);
        names.and_then(<[_]>::first).copied().unwrap_or_default()
    }
}

/// The columns of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    /// Where each of [`NAMES`] stands.
    at: [Option<u8>; NAMES.len()],
    /// Columns in all.
    pub count: usize,
}

/// Most columns of a line.
pub(super) const MOST_COLUMNS: usize = 64;

const ESP_CSI: &[u8] = b"type,id,mac,rssi,rate,sig_mode,mcs,bandwidth,smoothing,not_sounding,aggregation,stbc,fec_coding,sgi,\
noise_floor,ampdu_cnt,channel,secondary_channel,local_timestamp,ant,sig_len,rx_state,len,first_word,data";
const ESP_CSI_SHORT: &[u8] = b"type,id,mac,rssi,rate,noise_floor,fft_gain,agc_gain,channel,local_timestamp,sig_len,rx_state,\
len,first_word,data";
const CSI_TOOL: &[u8] = b"type,role,mac,rssi,rate,sig_mode,mcs,bandwidth,smoothing,not_sounding,aggregation,stbc,fec_coding,\
sgi,noise_floor,ampdu_cnt,channel,secondary_channel,local_timestamp,ant,sig_len,rx_state,real_time_set,real_timestamp,len,\
CSI_DATA";

impl Columns {
    /// Reads a header line; `None` for any other. It has to name RSSI and the list, in any order, with any others between.
    pub(super) fn header(text: &[u8]) -> Option<Self> {
        if memchr::memchr(b'[', text).is_some() {
            return None;
        }
        let mut columns = Self {
            at: [None; NAMES.len()],
            count: 0,
        };
        for field in text.split(|byte| *byte == b',') {
            let field = field.trim_ascii();
            let field = field.strip_prefix(b"\"").unwrap_or(field);
            let field = field.strip_suffix(b"\"").unwrap_or(field);
            let known = NAMES
                .iter()
                .position(|(_, names)| names.iter().any(|name| name.as_bytes() == field));
            if let Some(place) = known.and_then(|known| columns.at.get_mut(known))
                && place.is_none()
            {
                *place = u8::try_from(columns.count).ok();
            }
            columns.count += 1;
        }
        let named = |name| columns.place(name).is_some();
        (columns.count <= MOST_COLUMNS && named(Name::Rssi) && named(Name::Data)).then_some(columns)
    }

    /// The known set with so many columns before the list, where one has.
    pub(super) fn known(before_list: usize) -> Option<&'static Self> {
        static KNOWN: std::sync::LazyLock<Vec<Columns>> = std::sync::LazyLock::new(|| {
            let sets = [ESP_CSI, ESP_CSI_SHORT, CSI_TOOL];
            sets.into_iter().filter_map(Columns::header).collect()
        });
        KNOWN
            .iter()
            .find(|columns| columns.place(Name::Data) == Some(before_list))
    }

    /// Where a column stands.
    pub(super) fn place(&self, name: Name) -> Option<usize> {
        let place = self.at.get(name as usize).copied().flatten();
        place.map(usize::from)
    }

    /// Columns behind the list.
    pub(super) fn behind_list(&self) -> usize {
        let data = self.place(Name::Data).unwrap_or_default();
        self.count.saturating_sub(data + 1)
    }
}
