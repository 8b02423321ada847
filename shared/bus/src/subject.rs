//! Subjects and filters: what matches what, and which stream serves which filter.

use std::collections::BTreeMap;

use crate::table::{self, Kind, StreamSpec};
use crate::{Aggregate, Error};

/// Whether `subject` (without wildcards) matches `filter`.
#[must_use]
pub fn matches(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for pattern in filter.split('.') {
        match (pattern, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (literal, Some(token)) if literal == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// The subjects that match both filters, as one filter; none where there are none.
#[must_use]
pub fn intersect(a: &str, b: &str) -> Option<String> {
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    let mut tokens: Vec<&str> = Vec::new();
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Some(tokens.join(".")),
            (Some(">"), Some(token)) => {
                tokens.push(token);
                tokens.extend(right);
                return Some(tokens.join("."));
            }
            (Some(token), Some(">")) => {
                tokens.push(token);
                tokens.extend(left);
                return Some(tokens.join("."));
            }
            (Some("*"), Some(token)) | (Some(token), Some("*")) => tokens.push(token),
            (Some(one), Some(other)) if one == other => tokens.push(one),
            _ => return None,
        }
    }
}

/// What readers ask one stream for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Filters for the server; no two of them overlap.
    pub server: Vec<String>,
    /// Filters to be applied once more on our side, where the server's had to be wider.
    pub client: Option<Vec<String>>,
}

impl Selection {
    /// Whether a message that the server sent was asked for.
    pub fn takes(&self, subject: &str) -> bool {
        self.client
            .as_ref()
            .is_none_or(|filters| filters.iter().any(|filter| matches(filter, subject)))
    }
}

/// A bare event type means all its keys: `pose.motion_detected` is `pose.motion_detected.*`. A subject of the data plane
/// means it in whichever partition it lies: `data.csi.hall.esp` is `data.csi.hall.esp.*`.
pub fn expand(filter: &str) -> Result<String, Error> {
    let fault = |reason: &str| Error::Filter {
        filter: filter.to_owned(),
        reason: reason.to_owned(),
    };
    let tokens: Vec<&str> = filter.split('.').collect();
    for (position, token) in tokens.iter().enumerate() {
        if token.is_empty() {
            return Err(fault("a token is empty"));
        }
        if token.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(fault("a token holds a space or a control character"));
        }
        if token.len() > 1 && token.contains(['*', '>']) {
            return Err(fault("a wildcard must be a token of its own"));
        }
        if *token == ">" && position + 1 != tokens.len() {
            return Err(fault("`>` must be the last token"));
        }
    }
    match tokens.as_slice() {
        [context, event] if *context != "data" && *context != "deadletter" && *event != ">" => {
            Ok(format!("{filter}.*"))
        }
        ["data", plane, _, device] if *plane != "pose" && *device != ">" => {
            Ok(format!("{filter}.*"))
        }
        _ => Ok(filter.to_owned()),
    }
}

/// The streams that serve `filters`, and what each is asked for.
///
/// A filter whose first token is a wildcard means the event streams without the announcements of single frames; those, the
/// data plane and the dead letters are read only where a filter names them.
pub fn select(filters: &[String]) -> Result<BTreeMap<&'static str, Selection>, Error> {
    let mut selected: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for filter in filters {
        let expanded = expand(filter)?;
        let mut served = false;
        for stream in table::STREAMS
            .iter()
            .filter(|stream| asked_for(stream, &expanded))
        {
            for part in stream
                .stored()
                .filter_map(|subject| intersect(&subject, &expanded))
            {
                selected.entry(stream.name).or_default().push(part);
                served = true;
            }
        }
        if !served {
            return Err(Error::Filter {
                filter: filter.clone(),
                reason: "no stream holds such subjects".to_owned(),
            });
        }
    }
    Ok(selected
        .into_iter()
        .map(|(stream, filters)| (stream, disjoint(filters)))
        .collect())
}

/// The one stream that serves `filters`.
pub fn select_one(filters: &[String]) -> Result<(&'static str, Selection), Error> {
    let mut selected = select(filters)?.into_iter();
    match (selected.next(), selected.next()) {
        (Some(only), None) => Ok(only),
        (Some((first, _)), Some((second, _))) => Err(Error::Filter {
            filter: filters.join(","),
            reason: format!("spans the streams {first} and {second}; one is allowed here"),
        }),
        (None, _) => Err(Error::Filter {
            filter: String::new(),
            reason: "there is no filter".to_owned(),
        }),
    }
}

fn asked_for(stream: &StreamSpec, filter: &str) -> bool {
    let wild = filter.starts_with(['*', '>']);
    match stream.kind {
        Kind::Events => true,
        Kind::Announcements | Kind::Data | Kind::DeadLetters => !wild,
        Kind::Advisories => false,
    }
}

/// The server takes several filters only where no two overlap: what is covered goes, what overlaps in part is widened and
/// then filtered here.
fn disjoint(filters: Vec<String>) -> Selection {
    let mut server: Vec<String> = Vec::new();
    let mut widened = false;
    for filter in &filters {
        let mut filter = filter.clone();
        // Each round takes one filter out, so this ends.
        while let Some(position) = server
            .iter()
            .position(|other| intersect(other, &filter).is_some())
        {
            let other = server.swap_remove(position);
            let both = intersect(&other, &filter);
            filter = if both.as_deref() == Some(filter.as_str()) {
                other
            } else if both.as_deref() == Some(other.as_str()) {
                filter
            } else {
                widened = true;
                union(&other, &filter)
            };
        }
        server.push(filter);
    }
    server.sort();
    Selection {
        server,
        client: widened.then_some(filters),
    }
}

/// The narrowest filter that covers both of two that overlap.
fn union(a: &str, b: &str) -> String {
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    let mut tokens: Vec<&str> = Vec::new();
    loop {
        match (left.next(), right.next()) {
            (None, _) | (_, None) => return tokens.join("."),
            (Some(">"), _) | (_, Some(">")) => {
                tokens.push(">");
                return tokens.join(".");
            }
            (Some(one), Some(other)) => tokens.push(if one == other { one } else { "*" }),
        }
    }
}

/// Checks that `token` can stand in a subject: not empty, no dot, wildcard, space or control character.
pub fn check_token(subject: &str, token: &str) -> Result<(), Error> {
    let fault = |reason: String| {
        Err(Error::Subject {
            subject: subject.to_owned(),
            reason,
        })
    };
    if token.is_empty() {
        return fault("a token is empty".to_owned());
    }
    match token
        .chars()
        .find(|c| matches!(c, '.' | '*' | '>') || c.is_whitespace() || c.is_control())
    {
        Some(character) => fault(format!("{character:?} cannot stand in a token")),
        None => Ok(()),
    }
}

/// Checks that something can be published to `subject`: tokens that [`check_token`] takes.
pub fn check(subject: &str) -> Result<(), Error> {
    subject
        .split('.')
        .try_for_each(|token| check_token(subject, token))
}

/// Third token of `{context}.{event}.{key}`; empty where there is none.
#[must_use]
pub fn key_of(subject: &str) -> &str {
    subject.splitn(3, '.').nth(2).unwrap_or_default()
}

impl Aggregate {
    /// The filter of the aggregate's subjects, and the stream in which they lie.
    pub(crate) fn locate(&self) -> Result<(String, &'static StreamSpec), Error> {
        let filter = format!("{}.*.{}", self.context, self.key);
        check_token(&filter, &self.context)?;
        check_token(&filter, &self.key)?;
        let stream = table::STREAMS
            .iter()
            .filter(|stream| stream.kind == Kind::Events)
            .find(|stream| {
                stream
                    .subjects
                    .iter()
                    .any(|subject| intersect(subject, &filter).is_some())
            });
        match stream {
            Some(stream) => Ok((filter, stream)),
            None => Err(Error::Filter {
                filter,
                reason: "no event stream holds such subjects".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn matching_is_that_of_nats() {
        let check = |filter: &str, subject: &str, expected: bool| {
            assert_eq!(matches(filter, subject), expected, "{filter} {subject}")
        };
        check("pose.*.*", "pose.motion_detected.kitchen", true);
        check("pose.>", "pose.motion_detected.kitchen", true);
        check("pose.>", "pose", false);
        check(">", "pose", true);
        check("pose.*", "pose.motion_detected.kitchen", false);
        check("pose.*.*", "pose.motion_detected", false);
        check(
            "pose.motion_detected.kitchen",
            "pose.motion_detected.hall",
            false,
        );
    }

    #[test]
    fn a_filter_finds_its_streams() {
        let names = |filters: &[&str]| -> Vec<&str> {
            let filters: Vec<String> = filters.iter().map(|f| (*f).to_owned()).collect();
            select(&filters).unwrap().into_keys().collect()
        };
        assert_eq!(names(&["pose.motion_detected"]), ["POSE"]);
        assert_eq!(names(&["signal.csi_frame_received"]), ["FRAMES"]);
        assert_eq!(names(&["signal.*"]), ["FRAMES", "SIGNAL"]);
        assert_eq!(
            names(&["pose.fall_detected", "alerting.>"]),
            ["ALERTING", "POSE"]
        );
        let all = names(&[">"]);
        assert!(all.contains(&"POSE") && all.contains(&"CUSTOM"), "{all:?}");
        assert!(
            !all.contains(&"DATA")
                && !all.contains(&"FRAMES")
                && !all.contains(&"DEADLETTER")
                && !all.contains(&"ADVISORY"),
            "{all:?}"
        );
    }

    #[test]
    fn filters_that_no_stream_serves_are_refused() {
        let check = |filter: &str, expected: &str| {
            let error = select(&[filter.to_owned()]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("nowhere.at_all", "no stream holds");
        check("pose..x", "empty");
        check("pose.mo*", "a token of its own");
        check("pose.>.x", "last token");
        check("pose.a b", "space");
        check("", "empty");
        assert!(
            select_one(&["pose.>".to_owned(), "alerting.>".to_owned()])
                .unwrap_err()
                .to_string()
                .contains("one is allowed")
        );
    }

    #[test]
    fn overlapping_filters_become_disjoint_ones() {
        let check = |filters: &[&str], server: &[&str], client: bool| {
            let selection = disjoint(filters.iter().map(|f| (*f).to_owned()).collect());
            assert_eq!(selection.server, server, "{filters:?}");
            assert_eq!(selection.client.is_some(), client, "{filters:?}");
        };
        check(&["pose.a.*", "pose.a.*"], &["pose.a.*"], false);
        check(&["pose.a.*", "pose.*.*"], &["pose.*.*"], false);
        check(&["pose.a.*", "pose.b.*"], &["pose.a.*", "pose.b.*"], false);
        check(&["pose.*.x", "pose.a.*"], &["pose.*.*"], true);
    }

    fn filter() -> impl Strategy<Value = String> {
        (
            prop::collection::vec(prop::sample::select(vec!["a", "b", "*"]), 1..4),
            any::<bool>(),
        )
            .prop_map(|(mut tokens, open)| {
                if open {
                    tokens.push(">");
                }
                tokens.join(".")
            })
    }

    fn subject() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..5)
            .prop_map(|tokens| tokens.join("."))
    }

    proptest! {
        #[test]
        fn an_intersection_takes_what_both_take(a in filter(), b in filter(), subject in subject()) {
            let both = intersect(&a, &b).is_some_and(|both| matches(&both, &subject));
            prop_assert_eq!(both, matches(&a, &subject) && matches(&b, &subject));
        }

        #[test]
        fn a_selection_takes_what_one_of_its_filters_takes(filters in prop::collection::vec(filter(), 1..5), subject in subject()) {
            let selection = disjoint(filters.clone());
            let taken = selection.server.iter().filter(|filter| matches(filter, &subject)).count();
            prop_assert!(taken <= 1, "the server would refuse {:?}", selection.server);
            prop_assert_eq!(taken == 1 && selection.takes(&subject), filters.iter().any(|filter| matches(filter, &subject)));
        }
    }
}
