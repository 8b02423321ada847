//! How well the service's own code finds motion and breathing in recordings of what is known.
//!
//! [`path`] takes a recording through the code that the signal service runs, [`sets`] says which recordings there are and what
//! happened in them, [`motion`], [`breathing`], [`probe`] and [`anti_truth`] measure, [`measure`] holds the arithmetic,
//! [`figures`] is what is committed and compared, [`report`] puts it into words.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

pub mod anti_truth;
pub mod breathing;
pub mod figures;
pub mod measure;
pub mod motion;
pub mod path;
pub mod probe;
pub mod report;
pub mod sets;
