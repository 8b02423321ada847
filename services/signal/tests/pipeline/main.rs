//! The pipeline as a whole: on labelled recordings, on everything that is not motion, and over restarts.

mod anti_truth;
mod recordings_of_rooms;
mod restart;
mod source;
