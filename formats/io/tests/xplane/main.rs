//! The reader of XPlane files: real ones, hand-made ones with known answers, generated ones, damaged ones.

#![allow(clippy::unwrap_used)]

mod damage;
mod known;
mod naive;
mod proto;
mod real;
