//! Pipelines over recordings: named lists of typed stages, and their runs.
//!
//! [`stage`] says which stages there are and whether they fit, [`stages`] does their work, [`engine`] runs a list of them over
//! a recording chunk by chunk, [`table`] and [`output`] make a file of what comes out, [`pace`] chooses chunks and measures
//! progress, [`definition`] and [`run`] are the two aggregates. All of that is pure, with time from the recording.
//! [`store`] keeps pipelines, [`runs`] the runs, and [`worker`] connects them to the bus and the object stores. Nothing of the
//! live path ([`crate::pipeline`]) passes here, except the code that they share.

pub mod batch;
pub mod built_in;
pub mod definition;
pub mod engine;
pub mod error;
pub mod output;
pub mod pace;
pub mod run;
pub mod runs;
pub mod stage;
pub mod stages;
pub mod store;
pub mod table;
pub mod worker;

use std::sync::Arc;

use runtime::Runtime;

pub use error::Error;

/// Loads pipelines and runs, goes on with the runs that a former process left, and works from then on.
///
/// # Errors
/// Where the events or the object stores cannot be read.
pub(crate) async fn start(
    rt: &mut Runtime,
    bus: &bus::Bus,
    config: crate::config::Processing,
) -> anyhow::Result<(Arc<store::Pipelines>, Arc<runs::Runs>)> {
    let source = rt.source().to_owned();
    let pipelines = store::Pipelines::load(bus.clone(), source.clone()).await?;
    let (runs, launched) = runs::Runs::load(bus.clone(), config, source).await?;
    runs.recover().await?;
    let work = worker::supervise(Arc::clone(&runs), launched, rt.shutdown());
    rt.spawn("processing", work);
    Ok((Arc::new(pipelines), runs))
}
