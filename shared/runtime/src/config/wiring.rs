//! A service's `start` behind an object, so that only these few lines are compiled once per service.

use figment::value::Value;
use futures::future::LocalBoxFuture;

use super::ServiceConfig;
use crate::service::Runtime;

/// A service that can be configured and started, its types erased.
pub(crate) trait Wiring {
    /// The defaults of its section.
    fn defaults(&self) -> Result<Value, Box<figment::Error>>;
    /// Takes its section over; the last one that was good counts.
    fn configure(&mut self, section: &Value) -> Result<(), Box<figment::Error>>;
    /// What the service itself says about its section.
    fn validate(&self) -> Result<(), String>;
    /// Wires it up.
    fn start<'a>(self: Box<Self>, rt: &'a mut Runtime) -> LocalBoxFuture<'a, anyhow::Result<()>>;
}

/// The only implementation: a function and its configuration.
pub(crate) struct Start<C, F> {
    config: Option<C>,
    start: F,
}

impl<C, F> Start<C, F> {
    pub(crate) fn new(start: F) -> Self {
        Self {
            config: None,
            start,
        }
    }
}

impl<C, F> Wiring for Start<C, F>
where
    C: ServiceConfig,
    F: AsyncFnOnce(C, &mut Runtime) -> anyhow::Result<()> + 'static,
{
    fn defaults(&self) -> Result<Value, Box<figment::Error>> {
        Value::serialize(C::default()).map_err(Box::new)
    }

    fn configure(&mut self, section: &Value) -> Result<(), Box<figment::Error>> {
        self.config = Some(section.deserialize().map_err(Box::new)?);
        Ok(())
    }

    fn validate(&self) -> Result<(), String> {
        self.config.as_ref().map_or(Ok(()), C::validate)
    }

    fn start<'a>(self: Box<Self>, rt: &'a mut Runtime) -> LocalBoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move { (self.start)(self.config.unwrap_or_default(), rt).await })
    }
}
