//! What a pipeline gives, as columns.

use dsp::activity;
use dsp::cusum::Change;
use dsp::doppler::Doppler;
use dsp::motion::Explanation;
use serde::{Deserialize, Serialize};

use super::batch::{Batch, LinkInfo, Links, Row, Selected, Window};
use super::stage::{Kind, Stage, Type, rate_hz};
use crate::detector::Reason;

/// Values of one column; `None` where nothing was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Values {
    /// 64-bit integers.
    Integers(Vec<Option<i64>>),
    /// 32-bit floats.
    Floats(Vec<Option<f32>>),
    /// 64-bit floats.
    Doubles(Vec<Option<f64>>),
    /// Text.
    Texts(Vec<Option<String>>),
    /// A list of 32-bit floats in each row.
    Lists(Vec<Vec<f32>>),
}

/// One column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Name, with the unit where there is one.
    pub name: String,
    /// Values, as many as the table has rows.
    pub values: Values,
}

/// Columns of equal length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The columns, in order.
    pub columns: Vec<Column>,
}

impl Values {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Integers(values) => values.len(),
            Self::Floats(values) => values.len(),
            Self::Doubles(values) => values.len(),
            Self::Texts(values) => values.len(),
            Self::Lists(values) => values.len(),
        }
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn append(&mut self, other: Self) {
        match (self, other) {
            (Self::Integers(all), Self::Integers(more)) => all.extend(more),
            (Self::Floats(all), Self::Floats(more)) => all.extend(more),
            (Self::Doubles(all), Self::Doubles(more)) => all.extend(more),
            (Self::Texts(all), Self::Texts(more)) => all.extend(more),
            (Self::Lists(all), Self::Lists(more)) => all.extend(more),
            // Tables of the same stages have the same columns.
            _ => {}
        }
    }

    fn split_off(&mut self, at: usize) -> Self {
        fn cut<T>(values: &mut Vec<T>, at: usize) -> Vec<T> {
            values.split_off(at.min(values.len()))
        }
        match self {
            Self::Integers(values) => Self::Integers(cut(values, at)),
            Self::Floats(values) => Self::Floats(cut(values, at)),
            Self::Doubles(values) => Self::Doubles(cut(values, at)),
            Self::Texts(values) => Self::Texts(cut(values, at)),
            Self::Lists(values) => Self::Lists(cut(values, at)),
        }
    }
}

impl Table {
    /// The columns that these stages give, without rows.
    #[must_use]
    pub fn empty(gives: Kind, stages: &[Stage]) -> Self {
        let batch = match gives {
            Kind::Frames
            | Kind::Power
            | Kind::Regular
            | Kind::Components
            | Kind::RegularComponents
            | Kind::Spectra
            | Kind::Phases
            | Kind::Ratios
            | Kind::Products
            | Kind::RegularProducts => Batch::Rows(Vec::new()),
            Kind::Windows | Kind::Selected | Kind::Motion | Kind::Decisions => {
                Batch::Windows(Vec::new())
            }
        };
        Self::of(&batch, &Links::default(), gives, stages)
    }

    /// What came out of the last stage.
    #[must_use]
    pub fn of(batch: &Batch, links: &Links, gives: Kind, stages: &[Stage]) -> Self {
        let mut columns = Columns::default();
        match batch {
            Batch::Frames(_) => {}
            Batch::Rows(rows) => match gives {
                Kind::Spectra => columns.spectra(rows, links, bin_hz(stages)),
                Kind::Phases => columns.phases(rows, links),
                Kind::Components | Kind::RegularComponents => {
                    columns.rows(rows, links, "components");
                }
                Kind::Ratios => columns.complex(rows, links, "ratio"),
                Kind::Products | Kind::RegularProducts => columns.complex(rows, links, "product"),
                _ => columns.rows(rows, links, "values"),
            },
            Batch::Windows(windows) => {
                let has = |kind: fn(&Type) -> bool| stages.iter().any(|stage| kind(&stage.does));
                columns.windows(windows, links);
                if matches!(gives, Kind::Motion | Kind::Decisions) {
                    columns.motion(windows);
                }
                if gives == Kind::Decisions {
                    columns.decisions(windows);
                }
                if gives == Kind::Selected {
                    columns.selected(windows);
                }
                if has(|does| matches!(does, Type::Speed(_))) {
                    columns.speed(windows);
                }
                if has(|does| matches!(does, Type::ChangePoints(_))) {
                    columns.levels(windows);
                }
                if has(|does| matches!(does, Type::Breathing(_))) {
                    columns.breathing(windows);
                }
                if has(|does| matches!(does, Type::Activity(_))) {
                    columns.activity(windows);
                }
            }
        }
        Self { columns: columns.0 }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.values.len())
    }

    /// Adds the rows of another table of the same stages.
    pub fn append(&mut self, other: Self) {
        for (column, more) in self.columns.iter_mut().zip(other.columns) {
            column.values.append(more.values);
        }
    }

    /// Takes the rows from `at` on away, into a table of their own.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        let columns = self.columns.iter_mut().map(|column| Column {
            name: column.name.clone(),
            values: column.values.split_off(at),
        });
        Self {
            columns: columns.collect(),
        }
    }

    /// A column by its name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Values> {
        let column = self.columns.iter().find(|column| column.name == name)?;
        Some(&column.values)
    }
}

#[derive(Default)]
struct Columns(Vec<Column>);

impl Columns {
    fn add(&mut self, name: &str, values: Values) {
        self.0.push(Column {
            name: name.to_owned(),
            values,
        });
    }

    fn integers<T>(&mut self, name: &str, of: &[T], value: impl Fn(&T) -> Option<i64>) {
        self.add(name, Values::Integers(of.iter().map(value).collect()));
    }

    fn floats<T>(&mut self, name: &str, of: &[T], value: impl Fn(&T) -> Option<f32>) {
        self.add(name, Values::Floats(of.iter().map(value).collect()));
    }

    fn doubles<T>(&mut self, name: &str, of: &[T], value: impl Fn(&T) -> Option<f64>) {
        self.add(name, Values::Doubles(of.iter().map(value).collect()));
    }

    fn texts<T>(&mut self, name: &str, of: &[T], value: impl Fn(&T) -> Option<String>) {
        self.add(name, Values::Texts(of.iter().map(value).collect()));
    }

    fn links<T>(&mut self, of: &[T], links: &Links, number: impl Fn(&T) -> u32) {
        let info = |one: &T| links.get(number(one));
        self.integers("node", of, |one| info(one)?.node.map(i64::from));
        self.texts("transmitter", of, |one| transmitter(info(one)?));
        self.texts("layout", of, |one| Some(info(one)?.key.layout.clone()));
        self.integers("subcarriers", of, |one| count(info(one)?.key.subcarriers));
        self.integers("antennas", of, |one| {
            Some(i64::from(info(one)?.key.antennas))
        });
        let chain = |one: &T| info(one)?.key.chain;
        self.integers("chain", of, |one| Some(i64::from(chain(one)?.0)));
        self.integers("stream", of, |one| Some(i64::from(chain(one)?.1)));
        self.texts("ppdu", of, |one| {
            Some(info(one)?.key.ppdu.clone()).filter(|ppdu| !ppdu.is_empty())
        });
    }

    fn rows(&mut self, rows: &[Row], links: &Links, values: &str) {
        self.integers("time_us", rows, |row| Some(row.time_us));
        self.links(rows, links, |row| row.link);
        self.texts("fate", rows, |row| Some(fate(row).to_owned()));
        self.floats("log_rms", rows, |row| {
            (!row.values.is_empty()).then_some(row.log_rms)
        });
        self.lists(values, rows);
    }

    fn phases(&mut self, rows: &[Row], links: &Links) {
        self.integers("time_us", rows, |row| Some(row.time_us));
        self.links(rows, links, |row| row.link);
        self.texts("fate", rows, |row| Some(fate(row).to_owned()));
        self.lists("phase_rad", rows);
    }

    /// Real parts, and behind them the imaginary parts.
    fn complex(&mut self, rows: &[Row], links: &Links, name: &str) {
        self.integers("time_us", rows, |row| Some(row.time_us));
        self.links(rows, links, |row| row.link);
        self.texts("fate", rows, |row| Some(fate(row).to_owned()));
        let halves = rows
            .iter()
            .map(|row| row.values.split_at(row.values.len() / 2));
        let (real, imaginary) = halves.map(|(re, im)| (re.to_vec(), im.to_vec())).unzip();
        self.add(&format!("{name}_re"), Values::Lists(real));
        self.add(&format!("{name}_im"), Values::Lists(imaginary));
    }

    #[allow(clippy::cast_precision_loss)]
    fn selected(&mut self, windows: &[Window]) {
        let mut lists = |name: &str, of: &dyn Fn(&Selected) -> Vec<f32>| {
            let all = windows
                .iter()
                .map(|w| w.selected.as_ref().map(of).unwrap_or_default());
            self.add(name, Values::Lists(all.collect()));
        };
        lists("selected_antennas", &|of| {
            of.samples.iter().map(|(a, _)| *a as f32).collect()
        });
        lists("selected_subcarriers", &|of| {
            of.samples.iter().map(|(_, k)| f32::from(*k)).collect()
        });
        lists("weights", &|of| of.weights.clone());
    }

    fn speed(&mut self, windows: &[Window]) {
        let speed = |window: &Window| window.speed?.ok();
        self.doubles("speed_m_s", windows, |w| Some(speed(w)?.metres_per_second));
        self.doubles("speed_lag_s", windows, |w| Some(speed(w)?.lag_s));
        self.doubles("speed_autocorrelation", windows, |w| Some(speed(w)?.phi));
        self.texts("speed_reason", windows, |w| {
            Some(w.speed?.err()?.code().to_owned())
        });
    }

    fn levels(&mut self, windows: &[Window]) {
        self.floats("level_value", windows, |w| Some(w.level?.value));
        self.floats("level", windows, |w| Some(w.level?.level));
        self.floats("level_spread", windows, |w| Some(w.level?.spread));
        self.floats("level_z", windows, |w| w.level?.z);
        self.texts("change", windows, |w| {
            let (change, _) = w.level?.change?;
            let way = match change {
                Change::Up => "up",
                Change::Down => "down",
            };
            Some(way.to_owned())
        });
        self.integers("change_windows", windows, |w| {
            Some(i64::from(w.level?.change?.1))
        });
    }

    fn spectra(&mut self, rows: &[Row], links: &Links, bin_hz: Option<f64>) {
        self.integers("time_us", rows, |row| Some(row.time_us));
        self.links(rows, links, |row| row.link);
        self.doubles("bin_hz", rows, |_| bin_hz);
        self.lists("power", rows);
    }

    fn lists(&mut self, name: &str, rows: &[Row]) {
        let values = rows.iter().map(|row| row.values.clone());
        self.add(name, Values::Lists(values.collect()));
    }

    #[allow(clippy::cast_precision_loss)]
    fn windows(&mut self, windows: &[Window], links: &Links) {
        self.integers("window_start_us", windows, |w| Some(w.start_us));
        self.integers("window_end_us", windows, |w| Some(w.end_us));
        self.links(windows, links, |window| window.link);
        self.integers("frames_seen", windows, |w| count(w.counts.received()));
        self.integers("frames_missed", windows, |w| {
            w.counts.missed.and_then(count)
        });
        self.doubles("frame_rate_hz", windows, |w| {
            Some(w.counts.received() as f64 * 1e6 / w.counts.window_us.max(1) as f64)
        });
        self.doubles("period_us", windows, |w| w.counts.period_us);
        self.integers("longest_gap_us", windows, |w| Some(w.counts.longest_gap_us));
        self.floats("amplitude_mean", windows, |w| Some(w.amplitude_mean));
        self.floats("amplitude_std", windows, |w| Some(w.amplitude_std));
        self.floats("phase_variance", windows, |w| w.phase_variance);
    }

    fn motion(&mut self, windows: &[Window]) {
        let motion = |window: &Window| window.motion;
        self.doubles("statistic", windows, |w| Some(motion(w)?.statistic));
        self.doubles("autocorrelation", windows, |w| {
            Some(motion(w)?.autocorrelation)
        });
        self.doubles("fluctuation", windows, |w| Some(motion(w)?.fluctuation));
        self.doubles("coherent", windows, |w| Some(motion(w)?.coherent));
        self.doubles("evenness", windows, |w| Some(motion(w)?.evenness));
        self.texts("explanation", windows, |w| {
            let explanation = match motion(w)?.explanation? {
                Explanation::Bursts => Reason::Bursts,
                Explanation::Step => Reason::Step,
                Explanation::SteadyTone => Reason::SteadyTone,
            };
            Some(explanation.code().to_owned())
        });
        self.doubles("dominant_hz", windows, |w| motion(w)?.dominant_hz);
    }

    #[allow(clippy::cast_possible_truncation)]
    fn decisions(&mut self, windows: &[Window]) {
        self.texts("state", windows, |w| {
            Some(w.verdict?.state.as_str().to_owned())
        });
        self.floats("motion_score", windows, |w| {
            Some(w.verdict?.statistic? as f32)
        });
        self.floats("motion_threshold", windows, |w| {
            Some(w.verdict?.threshold as f32)
        });
        self.texts("reason", windows, |w| {
            Some(w.verdict?.reason?.code().to_owned())
        });
        self.floats("quality", windows, |w| Some(w.counts.quality()));
    }

    fn breathing(&mut self, windows: &[Window]) {
        let rate = |window: &Window| window.breath?.rate.ok();
        self.doubles("breaths_per_minute", windows, |w| Some(rate(w)?.bpm));
        self.texts("breathing_reason", windows, |w| {
            Some(w.breath?.rate.err()?.code().to_owned())
        });
        self.doubles("breathing_snr_db", windows, |w| Some(rate(w)?.snr_db));
        self.doubles("breathing_peak", windows, |w| Some(rate(w)?.peak));
        self.doubles("breathing_window_s", windows, |w| Some(w.breath?.window_s));
    }

    fn activity(&mut self, windows: &[Window]) {
        for (place, name) in activity::NAMES.iter().enumerate() {
            self.floats(&format!("activity_{name}"), windows, |w| {
                w.features.get(place).copied()
            });
        }
    }
}

/// Distance of two bins of the spectra, Hz.
fn bin_hz(stages: &[Stage]) -> Option<f64> {
    let mut places = stages.iter().enumerate();
    places.find_map(|(place, stage)| match &stage.does {
        Type::Doppler(of) => {
            let shape = of.shape(rate_hz(stages, place)?);
            Some(Doppler::new(0, shape).ok()?.bin_hz())
        }
        _ => None,
    })
}

fn count(value: usize) -> Option<i64> {
    i64::try_from(value).ok()
}

fn fate(row: &Row) -> &'static str {
    use super::batch::Fate;
    match row.fate {
        Fate::Taken => "taken",
        Fate::Repeated => "repeated",
        Fate::Late => "late",
        Fate::NoEnergy => "no_energy",
        Fate::Faulty => "faulty",
    }
}

fn transmitter(info: &LinkInfo) -> Option<String> {
    let address = info.key.transmitter?;
    let parts: Vec<String> = address.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(parts.join(":"))
}
