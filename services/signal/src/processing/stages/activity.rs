//! `activity`: the activity features of each window, by [`dsp::activity`].

use dsp::activity::Extractor;

use super::{StageError, Work};
use crate::detector::LinkState;
use crate::processing::batch::{Batch, LinkInfo, Links, Window};

/// Measures. It keeps nothing: a window holds all that it rests on.
pub struct Activity;

impl Work for Activity {
    fn push(&mut self, batch: Batch, links: &mut Links) -> Result<Batch, StageError> {
        let Batch::Windows(mut windows) = batch else {
            return Err(StageError::Input);
        };
        for window in &mut windows {
            let unknown = window
                .verdict
                .is_some_and(|v| v.state == LinkState::Unknown);
            if let Some(info) = links.get(window.link).filter(|_| !unknown) {
                measure(window, info);
            }
        }
        Ok(Batch::Windows(windows))
    }
}

fn measure(window: &mut Window, info: &LinkInfo) {
    let samples = info.frame_samples();
    // The powers are there for all rows, or the link had more than is kept.
    if samples == 0 || window.powers.len() != samples * window.times_us.len() {
        return;
    }
    let mut extractor = Extractor::new(&info.subcarriers, usize::from(info.key.antennas));
    for (time, powers) in window
        .times_us
        .iter()
        .zip(window.powers.chunks_exact(samples))
    {
        extractor.push(*time, powers, &info.valid);
    }
    // What keeps a window from having features is said by their absence.
    let _ = extractor.window(window.start_us, window.end_us, &mut window.features);
}
