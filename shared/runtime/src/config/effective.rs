//! One service's configuration, merged and checked.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use figment::error::{Actual, Kind};
use figment::value::{Dict, Tag, Value};
use figment::{Figment, Metadata};
use serde::de::DeserializeOwned;

use super::layers::{COMMON, Layer};
use super::render;
use super::wiring::Wiring;
use super::{
    Common, ConfigError, Instance, Limits, Listen, Log, SERVICES, Settings, default_listen, section,
};

/// Values that may be put right before an error is final: more than any section has keys.
const MAX_REPAIRS: usize = 1_000;

/// A service's configuration as it will be used, and where each value came from.
pub struct Effective {
    pub(crate) common: Common,
    pub(crate) grpc: SocketAddr,
    pub(crate) admin: SocketAddr,
    own: String,
    merged: Merged,
}

/// All layers merged, with the sources of what was put right on the way.
struct Merged {
    figment: Figment,
    texts: HashMap<String, String>,
    values: Dict,
    files: HashMap<String, String>,
}

impl Settings {
    /// The sections that every service reads, alone.
    pub(crate) fn common(&self) -> Result<Common, ConfigError> {
        Ok(self.resolve(None)?.common)
    }

    /// Merges, checks and hands `wiring` its section.
    pub(crate) fn resolve(
        &self,
        wiring: Option<(&str, &mut dyn Wiring)>,
    ) -> Result<Effective, ConfigError> {
        let internal = |error: figment::Error| ConfigError(format!("the defaults: {error}"));
        let common = figment::value::Value::serialize(Common::default()).map_err(internal)?;
        let mut defaults = common.into_dict().unwrap_or_default();
        let own = wiring
            .as_ref()
            .map(|(service, _)| section(service))
            .unwrap_or_default();
        if let Some((service, wiring)) = &wiring {
            let (grpc, admin) = default_listen(service);
            let mut section = wiring
                .defaults()
                .map_err(|error| internal(*error))?
                .into_dict()
                .unwrap_or_default();
            for (key, listen) in [("grpc", grpc), ("admin", admin)] {
                let listen = Value::serialize(Listen { listen }).map_err(internal)?;
                section.insert(key.into(), listen);
            }
            if self.ephemeral {
                free_ports(&mut section);
            }
            defaults.insert(own.clone(), section.into());
        }
        let defaults = Layer {
            source: "default".into(),
            values: defaults,
        };
        let mut figment = Figment::from(defaults);
        for layer in &self.layers {
            figment = figment.merge(layer.clone());
        }
        let root = figment
            .find_value("")
            .map_err(|error| ConfigError(error.to_string()))?;
        let mut merged = Merged {
            texts: self.texts.clone(),
            values: root.into_dict().unwrap_or_default(),
            files: HashMap::new(),
            figment,
        };
        if wiring.is_some() {
            merged.check_sections(&own)?;
        }
        let common = Common {
            nats: merged.section("nats")?,
            log: merged.section::<Log>("log")?,
            limits: merged.section::<Limits>("limits")?,
            instance: merged.section::<Instance>("instance")?,
        };
        common
            .limits
            .validate()
            .map_err(|error| merged.invalid(error))?;
        let nobody = SocketAddr::from(([127, 0, 0, 1], 0));
        let (mut grpc, mut admin) = (nobody, nobody);
        if let Some((_, wiring)) = wiring {
            grpc = merged.section::<Listen>(&format!("{own}.grpc"))?.listen;
            admin = merged.section::<Listen>(&format!("{own}.admin"))?.listen;
            merged.own_section(&own, wiring)?;
            wiring.validate().map_err(|error| {
                let named = error.starts_with(&format!("{own}."));
                merged.invalid(if named {
                    error
                } else {
                    format!("{own}.{error}")
                })
            })?;
        }
        Ok(Effective {
            common,
            grpc,
            admin,
            own,
            merged,
        })
    }
}

impl Effective {
    /// The common sections as TOML, each value with its source, secrets masked.
    #[must_use]
    pub fn common_toml(&self) -> String {
        let mut out = String::new();
        for name in COMMON {
            self.merged.render(&mut out, name);
        }
        out
    }

    /// The service's own section, likewise.
    #[must_use]
    pub fn own_toml(&self) -> String {
        let mut out = String::new();
        self.merged.render(&mut out, &self.own);
        out
    }
}

impl Merged {
    /// Sections of other services are theirs to check; anything else is a mistake.
    fn check_sections(&self, own: &str) -> Result<(), ConfigError> {
        let mut known: Vec<String> = COMMON.map(str::to_owned).to_vec();
        known.extend(SERVICES.map(section));
        if !own.is_empty() && !known.iter().any(|name| name == own) {
            known.push(own.to_owned());
        }
        for (name, value) in &self.values {
            if !known.iter().any(|section| section == name) {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let what = if value.as_dict().is_some() {
                    "section"
                } else {
                    "key"
                };
                return Err(ConfigError(format!(
                    "{name} is not a known {what} ({}); {}",
                    self.source_of(name, value),
                    suggestion("", name, &known)
                )));
            }
        }
        Ok(())
    }

    /// A section of the runtime's own.
    fn section<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ConfigError> {
        let mut parsed = None;
        let mut value = self.take(path)?;
        self.settle(path, &mut value, &[], &mut |value| {
            parsed = Some(value.deserialize().map_err(Box::new)?);
            Ok(())
        })?;
        self.put(path, value);
        parsed.ok_or_else(|| ConfigError(format!("{path} is missing")))
    }

    /// The service's section, without what belongs to the runtime.
    fn own_section(&mut self, own: &str, wiring: &mut dyn Wiring) -> Result<(), ConfigError> {
        let value = self.take(own)?;
        let tag = value.tag();
        let mut dict = value.into_dict().unwrap_or_default();
        let kept: Vec<_> = ["grpc", "admin"]
            .into_iter()
            .filter_map(|key| dict.remove_entry(key))
            .collect();
        let mut value = Value::Dict(tag, dict);
        self.settle(own, &mut value, &["grpc", "admin"], &mut |value| {
            wiring.configure(value)
        })?;
        let mut dict = value.into_dict().unwrap_or_default();
        dict.extend(kept);
        self.put(own, Value::Dict(tag, dict));
        Ok(())
    }

    fn take(&self, path: &str) -> Result<Value, ConfigError> {
        let root = Value::Dict(Tag::Default, self.values.clone());
        root.find(path)
            .ok_or_else(|| ConfigError(format!("{path} must be a table")))
    }

    fn put(&mut self, path: &str, value: Value) {
        let mut dict = &mut self.values;
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                dict.insert(part.to_owned(), value);
                return;
            }
            match dict.get_mut(part) {
                Some(Value::Dict(_, inner)) => dict = inner,
                _ => return,
            }
        }
    }

    /// Parses, puts right what can be put right (text that looked like a number, `*_file`), and parses again.
    fn settle(
        &mut self,
        section: &str,
        value: &mut Value,
        also_known: &[&str],
        parse: &mut dyn FnMut(&Value) -> Result<(), Box<figment::Error>>,
    ) -> Result<(), ConfigError> {
        for _ in 0..MAX_REPAIRS {
            let Err(error) = parse(value) else {
                return Ok(());
            };
            if !self.repair(section, value, &error)? {
                return Err(self.explain(section, value, &error, also_known));
            }
        }
        Err(ConfigError(format!(
            "{section} has too many values of the wrong type"
        )))
    }

    fn repair(
        &mut self,
        section: &str,
        root: &mut Value,
        error: &figment::Error,
    ) -> Result<bool, ConfigError> {
        match &error.kind {
            Kind::InvalidType(
                Actual::Unsigned(_)
                | Actual::Signed(_)
                | Actual::Float(_)
                | Actual::Bool(_)
                | Actual::Map
                | Actual::Seq,
                _,
            ) => {
                let Some(value) = at(root, &error.path) else {
                    return Ok(false);
                };
                let tag = value.tag();
                let text = self
                    .figment
                    .get_metadata(tag)
                    .and_then(|from| self.texts.get(from.name.as_ref()));
                let Some(text) = text else {
                    return Ok(false);
                };
                *value = Value::String(tag, text.clone());
                Ok(true)
            }
            Kind::UnknownField(field, known) => {
                let Some(key) = field
                    .strip_suffix("_file")
                    .filter(|key| known.contains(key))
                else {
                    return Ok(false);
                };
                let parent = parent(&error.path, field);
                let Some(Value::Dict(_, table)) = at(root, parent) else {
                    return Ok(false);
                };
                let path = joined(section, parent, key);
                let Some(file) = table.remove(field) else {
                    return Ok(false);
                };
                self.read_secret(&path, key, table, &file)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Puts the text of a file where the key without `_file` stands, unless that was given in a higher place.
    fn read_secret(
        &mut self,
        path: &str,
        key: &str,
        table: &mut Dict,
        file: &Value,
    ) -> Result<(), ConfigError> {
        let named_by = self.source_of(&format!("{path}_file"), file);
        let Some(name) = file.as_str() else {
            return Err(ConfigError(format!(
                "{path}_file must be the path of a file ({named_by})"
            )));
        };
        if let Some(present) = table.get(key) {
            let (here, there) = (self.rank(file), self.rank(present));
            if there > here && there > 0 {
                return Ok(());
            }
            if there == here && there > 0 && self.source_of(path, present) == named_by {
                return Err(ConfigError(format!(
                    "{path} and {path}_file are both given by {named_by}: give one"
                )));
            }
        }
        let text = std::fs::read_to_string(name)
            .map_err(|error| ConfigError(format!("{path}_file = {name} ({named_by}): {error}")))?;
        table.insert(
            key.to_owned(),
            Value::String(file.tag(), text.trim().to_owned()),
        );
        self.files
            .insert(path.to_owned(), format!("file {name}, named by {named_by}"));
        Ok(())
    }

    /// 0 for defaults, and up from there.
    fn rank(&self, value: &Value) -> usize {
        let name = self
            .figment
            .get_metadata(value.tag())
            .map(|from| from.name.as_ref());
        match name {
            None | Some("default") => 0,
            Some(name) if name.starts_with("environment") => 2,
            Some(name) if name.starts_with("flag") || name.starts_with("set ") => 3,
            Some(_) => 1,
        }
    }

    fn source_of(&self, path: &str, value: &Value) -> String {
        if let Some(file) = self.files.get(path) {
            return file.clone();
        }
        let own = self.figment.get_metadata(value.tag());
        own.or_else(|| first_leaf(value).and_then(|leaf| self.figment.get_metadata(leaf.tag())))
            .map_or_else(|| "default".into(), |from: &Metadata| from.name.to_string())
    }

    fn explain(
        &self,
        section: &str,
        root: &mut Value,
        error: &figment::Error,
        also_known: &[&str],
    ) -> ConfigError {
        let here = joined(section, &error.path, "");
        if let Kind::UnknownField(field, known) = &error.kind {
            let parent = parent(&error.path, field);
            let here = joined(section, parent, "");
            let path = joined(section, parent, field);
            let mut known = known.to_vec();
            if parent.is_empty() {
                known.extend(also_known);
            }
            let source = match at(root, parent) {
                Some(Value::Dict(_, table)) => {
                    table.get(field).map(|value| self.source_of(&path, value))
                }
                _ => None,
            };
            return ConfigError(format!(
                "{path} is not a known key ({}); {}",
                source.unwrap_or_else(|| "unknown source".into()),
                suggestion(&here, field, &known)
            ));
        }
        let source = at(root, &error.path).map_or_else(
            || "unknown source".into(),
            |value| self.source_of(&here, value),
        );
        let key = error.path.last().map_or(section, String::as_str);
        if render::is_secret(key) {
            return ConfigError(format!(
                "{here} ({source}) has the wrong type: it must be text"
            ));
        }
        ConfigError(format!("{here} ({source}): {}", error.kind))
    }

    /// A service's own complaint, with the source of the key that it begins with.
    fn invalid(&self, message: String) -> ConfigError {
        let key = message.split([' ', ':', '=']).next().unwrap_or_default();
        let root = Value::Dict(Tag::Default, self.values.clone());
        match root.find_ref(key) {
            Some(value) => ConfigError(format!("{message} ({})", self.source_of(key, value))),
            None => ConfigError(message),
        }
    }

    fn render(&self, out: &mut String, name: &str) {
        match self.values.get(name) {
            Some(Value::Dict(_, dict)) => {
                render::table(out, name, dict, &|path, value| self.source_of(path, value));
            }
            _ => {
                let _ = writeln!(out, "[{name}]\n");
            }
        }
    }
}

/// The value at a path; numbers are places in arrays.
fn at<'a>(root: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    let mut value = root;
    for part in path {
        value = match value {
            Value::Dict(_, dict) => dict.get_mut(part)?,
            Value::Array(_, items) => items.get_mut(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

/// Where an unknown field stands: figment ends the path with the field itself.
fn parent<'a>(path: &'a [String], field: &str) -> &'a [String] {
    match path.split_last() {
        Some((last, parent)) if last == field => parent,
        _ => path,
    }
}

fn first_leaf(value: &Value) -> Option<&Value> {
    match value {
        Value::Dict(_, dict) => dict.values().find_map(first_leaf),
        Value::Array(_, items) => items.iter().find_map(first_leaf),
        leaf => Some(leaf),
    }
}

fn joined(section: &str, path: &[String], key: &str) -> String {
    let parts = std::iter::once(section)
        .chain(path.iter().map(String::as_str))
        .chain(std::iter::once(key));
    parts
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(".")
}

fn suggestion(parent: &str, wrong: &str, known: &[&str]) -> String {
    let full = |key: &str| joined(parent, &[], key);
    let near = known
        .iter()
        .map(|key| (strsim::normalized_damerau_levenshtein(key, wrong), *key))
        .filter(|(nearness, _)| *nearness >= 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, key)) => format!("did you mean {}?", full(key)),
        None if known.is_empty() => "there is none here".into(),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// Port 0 for every default address whose key ends in `listen`.
fn free_ports(dict: &mut Dict) {
    for (key, value) in dict.iter_mut() {
        match value {
            Value::Dict(_, inner) => free_ports(inner),
            Value::String(_, text) if key.ends_with("listen") => {
                if let Ok(mut address) = text.parse::<SocketAddr>() {
                    address.set_port(0);
                    *text = address.to_string();
                }
            }
            _ => {}
        }
    }
}
