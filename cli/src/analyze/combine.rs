//! The links of one device, put together: one window says one thing.

use proto::signal::v1::{LinkState, SignalWindow};
use signal::Output;

use super::windows_of;

/// What all links of a device say about one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Combined {
    /// The device.
    pub device: String,
    /// Beginning of the window, microseconds.
    pub start_us: i64,
    /// Its end.
    pub end_us: i64,
    /// The link that decides: one in motion before one that is still before one that cannot say; of those the one with the
    /// highest statistic, or else the most frames.
    pub deciding: SignalWindow,
    /// Frames of all links.
    pub frames: u64,
    /// Links.
    pub links: usize,
}

/// Puts windows of the same device and time together, in the order in which they come.
pub fn combine(outputs: &[Output], windows: &mut Vec<Combined>) {
    for window in windows_of(outputs) {
        let same = |known: &&mut Combined| {
            known.device == window.device && known.end_us == window.window_end_us
        };
        match windows.last_mut().filter(same) {
            Some(known) => {
                known.frames += u64::from(window.frames_seen);
                known.links += 1;
                if weight(window) > weight(&known.deciding) {
                    known.deciding = window.clone();
                }
            }
            None => windows.push(Combined {
                device: window.device.clone(),
                start_us: window.window_start_us,
                end_us: window.window_end_us,
                deciding: window.clone(),
                frames: u64::from(window.frames_seen),
                links: 1,
            }),
        }
    }
}

fn weight(window: &SignalWindow) -> (u8, f32, u32) {
    let state = match window.state() {
        LinkState::Motion => 2,
        LinkState::Still => 1,
        LinkState::Unknown | LinkState::Unspecified => 0,
    };
    (
        state,
        window.motion_score.unwrap_or(-1.0),
        window.frames_seen,
    )
}
