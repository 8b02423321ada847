//! dsp

pub mod activity;
