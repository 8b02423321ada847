//! Hysteresis and hold times: one threshold to raise, a safer one to clear, and each only after a while. Pure.

/// A threshold with its hysteresis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Edge {
    /// Beyond it is above.
    Above {
        /// Raised above this.
        raise: f64,
        /// Cleared at or below this.
        clear: f64,
    },
    /// Beyond it is below.
    Below {
        /// Raised below this.
        raise: f64,
        /// Cleared at or above this.
        clear: f64,
    },
}

impl Edge {
    fn beyond(self, value: f64, raised: bool) -> bool {
        match self {
            Self::Above { raise, clear } => value > if raised { clear } else { raise },
            Self::Below { raise, clear } => value < if raised { clear } else { raise },
        }
    }
}

/// The thresholds of one measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Level 1.
    pub degraded: Option<Edge>,
    /// Level 2.
    pub unhealthy: Option<Edge>,
}

impl Limit {
    /// The level that `value` asks for where `level` holds.
    fn level(&self, value: f64, level: u8) -> u8 {
        let beyond =
            |edge: Option<Edge>, at: u8| edge.is_some_and(|edge| edge.beyond(value, level >= at));
        if beyond(self.unhealthy, 2) {
            2
        } else {
            u8::from(beyond(self.degraded, 1))
        }
    }
}

/// How long a value must stay beyond a threshold, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holds {
    /// Before the level rises.
    pub raise_us: i64,
    /// Before it falls.
    pub clear_us: i64,
}

/// The level of one measure: 0 well, 1 degraded, 2 unhealthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    level: u8,
    turning: Option<Turning>,
}

/// The value asks for another level since some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turning {
    since_us: i64,
    rising: bool,
    /// The level nearest to the present one that was asked for since: all the time it was at least that far.
    nearest: u8,
}

impl Gate {
    /// Takes a value at `now_us`; what is not measured asks for level 0.
    pub fn push(&mut self, limit: &Limit, value: Option<f64>, holds: Holds, now_us: i64) {
        let asked = value.map_or(0, |value| limit.level(value, self.level));
        if asked == self.level {
            self.turning = None;
            return;
        }
        let rising = asked > self.level;
        let turning = match self.turning {
            Some(turning) if turning.rising == rising => Turning {
                nearest: if rising {
                    turning.nearest.min(asked)
                } else {
                    turning.nearest.max(asked)
                },
                ..turning
            },
            _ => Turning {
                since_us: now_us,
                rising,
                nearest: asked,
            },
        };
        let hold = if rising {
            holds.raise_us
        } else {
            holds.clear_us
        };
        if now_us.saturating_sub(turning.since_us) >= hold {
            self.level = turning.nearest;
            self.turning = None;
        } else {
            self.turning = Some(turning);
        }
    }

    /// 0 well, 1 degraded, 2 unhealthy.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.level
    }
}
