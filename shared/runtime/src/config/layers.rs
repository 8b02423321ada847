//! The layers over the defaults: file, environment, flags.

use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Tag, Value};
use figment::{Metadata, Profile, Provider};

use super::{ConfigError, Flags, LogFormat, SERVICES, section};

/// Sections that every service reads.
pub(super) const COMMON: [&str; 4] = ["nats", "log", "limits", "instance"];

/// Values from one place, which is named in errors and by `--check-config`.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub source: String,
    pub values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// What was configured over the defaults. Made once a process; each service takes its part.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Lowest first.
    pub(super) layers: Vec<Layer>,
    /// The text of values that came as text (environment, flags), by source: a password of digits is still text.
    pub(super) texts: HashMap<String, String>,
    /// Default addresses get port 0.
    pub(super) ephemeral: bool,
}

impl Settings {
    /// Reads file, environment and flags of this process.
    ///
    /// # Errors
    /// A file that cannot be read or is not TOML, a flag or variable that names no key.
    pub fn of_process(flags: &Flags) -> Result<Self, ConfigError> {
        Self::read(flags, std::env::vars())
    }

    /// Only these values over the defaults: no file, no environment, and free ports for every address not given here.
    /// For tests, and for whoever runs services inside a program.
    ///
    /// # Errors
    /// Text that is not TOML.
    pub fn explicit(toml: &str) -> Result<Self, ConfigError> {
        let mut settings = Self::default().ephemeral();
        settings.add_toml("the given text".into(), toml)?;
        Ok(settings)
    }

    /// Addresses that are not configured take free ports of the system.
    #[must_use]
    pub fn ephemeral(mut self) -> Self {
        self.ephemeral = true;
        self
    }

    /// Sets one key above all others, e.g. `("nats.url", "nats://127.0.0.1:4222")`.
    ///
    /// # Errors
    /// A key that is not a dotted path.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        self.add_text(format!("set {key}"), key, value)
    }

    /// The text given for a key, from the highest place; `None` where its default holds, or it is no text.
    #[must_use]
    pub fn given(&self, key: &str) -> Option<String> {
        self.layers.iter().rev().find_map(|layer| {
            let value = Value::Dict(Tag::Default, layer.values.clone()).find(key)?;
            self.texts
                .get(&layer.source)
                .cloned()
                .or_else(|| value.into_string())
        })
    }

    /// The `[nats]` section as it will be used.
    ///
    /// # Errors
    /// What is wrong with the common sections.
    pub fn nats(&self) -> Result<bus::Config, ConfigError> {
        Ok(self.common()?.nats)
    }

    pub(super) fn read(
        flags: &Flags,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut settings = Self::default();
        if let Some(path) = &flags.config {
            settings.add_file(path)?;
        }
        let mut variables: Vec<_> = environment.collect();
        variables.sort();
        for (name, value) in variables {
            settings.add_variable(&name, &value)?;
        }
        for assignment in &flags.set {
            let Some((key, value)) = assignment.split_once('=') else {
                return Err(ConfigError(format!(
                    "--set {assignment}: must be key=value, e.g. --set log.level=debug"
                )));
            };
            settings.add_text(format!("flag --set {key}"), key.trim(), value)?;
        }
        if let Some(url) = &flags.nats {
            settings.add_text("flag --nats".into(), "nats.url", url)?;
        }
        if let Some(format) = flags.log_format {
            let name = match format {
                LogFormat::Auto => "auto",
                LogFormat::Plain => "plain",
                LogFormat::Json => "json",
            };
            settings.add_text("flag --log-format".into(), "log.format", name)?;
        }
        if let Some(level) = &flags.log_level {
            settings.add_text("flag --log-level".into(), "log.level", level)?;
        }
        Ok(settings)
    }

    fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(format!("file {}: {error}", path.display())))?;
        self.add_toml(format!("file {}", path.display()), &text)
    }

    fn add_toml(&mut self, source: String, text: &str) -> Result<(), ConfigError> {
        let values = Toml::from_str::<Dict>(text)
            .map_err(|error| ConfigError(format!("{source}: {}", error.to_string().trim_end())))?;
        self.layers.push(Layer { source, values });
        Ok(())
    }

    /// Only variables with `__` are keys; one that names a section with a single `_` is taken for a slip, but for
    /// `FRESNEL_<SERVICE>_ADDRESS`, by which clients find a service.
    fn add_variable(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let Some(rest) = name.strip_prefix("FRESNEL_") else {
            return Ok(());
        };
        if rest.contains("__") {
            let key = rest.to_ascii_lowercase().replace("__", ".");
            return self.add_text(format!("environment variable {name}"), &key, value);
        }
        let rest = rest.to_ascii_lowercase();
        if rest.ends_with("_address") {
            return Ok(());
        }
        let services = SERVICES.iter().map(|service| section(service));
        for section in services.chain(COMMON.map(str::to_owned)) {
            if let Some(key) = rest.strip_prefix(&format!("{section}_")) {
                return Err(ConfigError(format!(
                    "environment variable {name} sets nothing: sections end in two underscores; did you mean FRESNEL_{}__{}?",
                    section.to_ascii_uppercase(),
                    key.to_ascii_uppercase()
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn add_text(
        &mut self,
        source: String,
        key: &str,
        text: &str,
    ) -> Result<(), ConfigError> {
        let parts: Vec<&str> = key.split('.').collect();
        if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
            return Err(ConfigError(format!(
                "{source}: `{key}` is not a key; keys are section.name, e.g. nats.url"
            )));
        }
        let Ok(mut value) = Value::from_str(text);
        for part in parts.iter().skip(1).rev() {
            value = Value::Dict(Tag::Default, Dict::from([((*part).to_owned(), value)]));
        }
        let first = parts.first().copied().unwrap_or_default().to_owned();
        self.texts.insert(source.clone(), text.to_owned());
        self.layers.push(Layer {
            source,
            values: Dict::from([(first, value)]),
        });
        Ok(())
    }
}
