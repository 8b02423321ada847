//! The effective configuration as TOML, each value with its source, secrets masked.

use std::fmt::Write as _;

use figment::value::{Dict, Empty, Num, Value};

const MASK: &str = "********";

/// Writes `section` and the tables below it; `source` says where the value at a path came from.
pub(super) fn table(
    out: &mut String,
    path: &str,
    dict: &Dict,
    source: &dyn Fn(&str, &Value) -> String,
) {
    let (tables, values): (Vec<_>, Vec<_>) = dict
        .iter()
        .partition(|(_, value)| matches!(value, Value::Dict(..)));
    if !values.is_empty() || tables.is_empty() {
        let _ = writeln!(out, "[{path}]");
        for (key, value) in values {
            let path = format!("{path}.{key}");
            let source = source(&path, value);
            match value {
                Value::Empty(..) => {
                    let _ = writeln!(out, "# {key} is not set  # {source}");
                }
                value => {
                    let _ = writeln!(out, "{} = {}  # {source}", bare(key), inline(key, value));
                }
            }
        }
        out.push('\n');
    }
    for (key, value) in tables {
        if let Value::Dict(_, inner) = value {
            table(out, &format!("{path}.{}", bare(key)), inner, source);
        }
    }
}

fn inline(key: &str, value: &Value) -> String {
    match value {
        Value::Empty(_, Empty::None | Empty::Unit) => "\"\"".into(),
        _ if is_secret(key) => quoted(MASK),
        Value::String(_, text) => quoted(&without_user(text)),
        Value::Char(_, char) => quoted(&char.to_string()),
        Value::Bool(_, bool) => bool.to_string(),
        Value::Num(_, number) => self::number(*number),
        Value::Array(_, items) => {
            let items: Vec<String> = items.iter().map(|item| inline("", item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Dict(_, dict) => {
            let items: Vec<String> = dict
                .iter()
                .filter(|(_, value)| !matches!(value, Value::Empty(..)))
                .map(|(key, value)| format!("{} = {}", bare(key), inline(key, value)))
                .collect();
            format!("{{ {} }}", items.join(", "))
        }
    }
}

fn number(number: Num) -> String {
    match number {
        // Debug keeps the point: 10.0, not 10.
        Num::F32(value) => format!("{value:?}"),
        Num::F64(value) => format!("{value:?}"),
        other => match (other.to_u128(), other.to_i128()) {
            (Some(value), _) => value.to_string(),
            (None, Some(value)) => value.to_string(),
            (None, None) => "0".into(),
        },
    }
}

fn bare(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(plain) {
        key.to_owned()
    } else {
        quoted(key)
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Whether a key holds a secret, by its name.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    [
        "password",
        "token",
        "secret",
        "credentials",
        "api_key",
        "private_key",
    ]
    .iter()
    .any(|word| key == *word || key.ends_with(&format!("_{word}")))
}

/// `nats://user:password@host` without what stands before the `@`, for each of a list of URLs.
#[must_use]
pub fn without_user(text: &str) -> String {
    let one = |url: &str| match url.split_once("://") {
        Some((scheme, rest)) => match rest.split('/').next().and_then(|host| host.rfind('@')) {
            Some(at) => format!("{scheme}://{MASK}{}", rest.get(at..).unwrap_or_default()),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    };
    text.split(',').map(one).collect::<Vec<_>>().join(",")
}
