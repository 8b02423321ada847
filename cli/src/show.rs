//! How answers are shown: one JSON object a line, or a table without lines.

use comfy_table::{Table, presets};
use serde_json::Value;

use crate::client::{print_line, printable};

/// Every item as JSON, or all as a table; `none` where there is no item.
///
/// # Errors
/// Where standard output is closed.
pub fn all<T>(
    items: &[T],
    json: bool,
    to_json: fn(&T) -> Value,
    to_table: fn(&[T]) -> Table,
    none: &str,
) -> anyhow::Result<()> {
    if json {
        for item in items {
            print_line(&to_json(item).to_string())?;
        }
    } else if items.is_empty() {
        eprintln!("{none}");
    } else {
        print_line(&to_table(items).to_string())?;
    }
    Ok(())
}

/// One item: its JSON, or a line for each field.
///
/// # Errors
/// Where standard output is closed.
pub fn one(value: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        print_line(&value.to_string())?;
    } else if let Value::Object(fields) = value {
        let width = fields.keys().map(String::len).max().unwrap_or(0);
        for (field, value) in fields {
            let value = value.as_str().map_or_else(|| value.to_string(), printable);
            print_line(&format!("{field:<width$} {value}"))?;
        }
    }
    Ok(())
}

/// A table with these columns.
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    table
}

/// What is absent is left out.
pub fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, value| !value.is_null());
    }
    value
}

/// RFC 3339, as in the events.
pub fn time(time: &prost_types::Timestamp) -> String {
    let micros = time
        .seconds
        .saturating_mul(1_000_000)
        .saturating_add(i64::from(time.nanos / 1000));
    events::Timestamp::from_micros(micros).to_string()
}

/// What is not known.
pub fn dash() -> String {
    "-".to_owned()
}

/// The text, or a dash.
pub fn or_dash(text: String) -> String {
    if text.is_empty() { dash() } else { text }
}
