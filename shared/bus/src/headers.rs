//! The headers of a message on its way out.
//!
//! A message is kept until it is acknowledged, and the client wants a map of its own each time that it is sent: a map has two pieces of
//! memory for each header. Here they are two pieces together.

use std::fmt::{Display, Write as _};

use async_nats::header::{HeaderMap, HeaderName};

/// Names and values, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers {
    /// Each name, and where its value ends.
    names: Vec<(HeaderName, usize)>,
    values: String,
}

impl Headers {
    /// Room for as many headers and bytes of values.
    pub fn with_capacity(headers: usize, bytes: usize) -> Self {
        Self {
            names: Vec::with_capacity(headers),
            values: String::with_capacity(bytes),
        }
    }

    /// Adds a header; one of the same name stays.
    pub fn push(&mut self, name: HeaderName, value: impl Display) {
        // Writing to memory cannot fail.
        let _ = write!(self.values, "{value}");
        self.names.push((name, self.values.len()));
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// As the client wants them.
    pub fn map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        let mut begin = 0;
        for (name, end) in &self.names {
            let value = self.values.get(begin..*end).unwrap_or_default();
            map.append(name.clone(), value);
            begin = *end;
        }
        map
    }
}

impl From<&HeaderMap> for Headers {
    fn from(map: &HeaderMap) -> Self {
        let mut headers = Self::default();
        for (name, values) in map.iter() {
            for value in values {
                headers.push(name.clone(), value);
            }
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_all_that_was_put_in() {
        let mut headers = Headers::default();
        assert!(headers.is_empty());
        headers.push(HeaderName::from_static("a"), 17);
        headers.push(HeaderName::from_static("b"), "");
        headers.push(HeaderName::from_static("c"), "Küche");
        headers.push(HeaderName::from_static("a"), "again");
        let map = headers.map();
        assert!(!headers.is_empty());
        let all =
            |name: &str| -> Vec<String> { map.get_all(name).map(ToString::to_string).collect() };
        assert_eq!(all("a"), ["17", "again"]);
        assert_eq!(
            (all("b"), all("c")),
            (vec![String::new()], vec!["Küche".to_owned()])
        );
        assert_eq!(Headers::from(&map).map(), map);
    }
}
