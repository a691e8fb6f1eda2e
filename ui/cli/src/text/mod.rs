//! Text for people: numbers, bars, tables.

mod bar;
mod number;
mod table;

pub use bar::{Part, bar};
pub use number::{bytes, clean, count, decimal_bytes, kernel_name, percent, rate, share, shorten};
pub use table::{Align, Table};
