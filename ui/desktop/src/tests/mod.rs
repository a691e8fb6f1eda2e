//! Tests of the app as a user sees it: by accessible label, and a few small pictures.
#![allow(clippy::unwrap_used)]

mod actions;
mod compare;
mod engine;
mod fixture;
mod follow;
mod parts;
mod pictures;
mod roofline;
mod user;
