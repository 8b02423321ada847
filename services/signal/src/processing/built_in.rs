//! The pipelines that come with the service: the live path's own steps, over recordings.

use super::stage::{Activity, Decision, Gain, MotionStatistic, Stage, Type, Validate, Window};

/// Name, description and stages of each built-in pipeline, by name.
#[must_use]
pub fn all() -> Vec<(&'static str, &'static str, Vec<Stage>)> {
    vec![
        (
            "features",
            "What the live service measures and decides of each window, with the activity features.",
            stages(true),
        ),
        (
            "motion",
            "Motion, still or unknown for each window, as the live service decides it.",
            stages(false),
        ),
    ]
}

fn stages(activity: bool) -> Vec<Stage> {
    let mut types = vec![
        Type::Validate(Validate::default()),
        Type::Gain(Gain::default()),
        Type::Window(Window::default()),
        Type::Motion(MotionStatistic::default()),
        Type::Decision(Decision::default()),
    ];
    if activity {
        types.push(Type::Activity(Activity::default()));
    }
    let named = |does: Type| Stage {
        name: does.name().to_owned(),
        does,
    };
    types.into_iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn they_fit() {
        for (name, _, stages) in super::all() {
            assert!(super::super::stage::check(&stages).is_ok(), "{name}");
        }
    }
}
