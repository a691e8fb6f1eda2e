//! What stands in the tables: columns of kernels, operators, copies and collectives.

use gapless_analysis::{CollectiveRow, CopyRow, KernelRow, OperatorRow, Tables};
use gapless_timeline::display_name;
use gapless_trace::Duration;

use crate::format::{bytes, duration_f64, percent, thousands, three_figures};
use crate::table::{Column, Key, Sort, TableId, order};

/// Width of a column of counts or shares.
pub const NARROW: f32 = 76.0;
/// Width of a column of times.
pub const TIME: f32 = 84.0;

/// The order of the rows of one table of a rank.
#[must_use]
pub fn order_of(tables: &Tables, table: TableId, sort: Sort) -> Vec<u32> {
    match table {
        TableId::Kernels => order(&tables.kernels, KERNELS, sort),
        TableId::Operators => order(&tables.operators, OPERATORS, sort),
        TableId::Copies => order(&tables.copies, COPIES, sort),
        TableId::Collectives => order(&tables.collectives, COLLECTIVES, sort),
        // They are not of a rank.
        TableId::Segments | TableId::Instances | TableId::Lateness => Vec::new(),
    }
}

/// A column of text.
pub const fn text<R>(
    title: &'static str,
    width: f32,
    tip: &'static str,
    text: fn(&R) -> String,
    key: for<'a> fn(&'a R) -> Key<'a>,
) -> Column<R> {
    Column { title, width, is_number: false, tip, text, full: None, key }
}

/// A column of numbers.
pub const fn number<R>(
    title: &'static str,
    width: f32,
    tip: &'static str,
    text: fn(&R) -> String,
    key: for<'a> fn(&'a R) -> Key<'a>,
) -> Column<R> {
    Column { title, width, is_number: true, tip, text, full: None, key }
}

fn time(nanos: i64) -> String {
    Duration(nanos).to_string()
}

fn time_f64(nanos: f64) -> String {
    duration_f64(nanos).to_string()
}

fn rate(gb_per_s: Option<f64>) -> String {
    gb_per_s.map_or_else(|| "–".to_owned(), |rate| format!("{} GB/s", three_figures(rate)))
}

fn maybe_bytes(value: Option<u64>) -> String {
    value.map_or_else(|| "–".to_owned(), bytes)
}

fn as_f64(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

/// Columns of rows with [`gapless_analysis::Stats`]: some before, the statistics, some after.
macro_rules! with_stats {
    ($row:ty; $($before:expr,)* ; $($after:expr,)*) => {
        &[
            $($before,)*
            number("count", NARROW, "how many there are", |row: &$row| thousands(row.stats.count), |row| {
                Key::Number(row.stats.count as f64)
            }),
            number("sum", TIME, "summed duration", |row: &$row| time(row.stats.sum_ns), |row| {
                Key::whole(row.stats.sum_ns)
            }),
            number("min", TIME, "the shortest", |row: &$row| time(row.stats.min_ns), |row| {
                Key::whole(row.stats.min_ns)
            }),
            number("median", TIME, "half of them last no longer", |row: &$row| time_f64(row.stats.median_ns), |row| {
                Key::Number(row.stats.median_ns)
            }),
            number("mean", TIME, "sum ÷ count", |row: &$row| time_f64(row.stats.mean_ns), |row| {
                Key::Number(row.stats.mean_ns)
            }),
            number("p95", TIME, "95 in 100 last no longer", |row: &$row| time_f64(row.stats.p95_ns), |row| {
                Key::Number(row.stats.p95_ns)
            }),
            number("max", TIME, "the longest", |row: &$row| time(row.stats.max_ns), |row| {
                Key::whole(row.stats.max_ns)
            }),
            $($after,)*
        ]
    };
}

/// Kernels, copies and fills by name.
pub const KERNELS: &[Column<KernelRow>] = with_stats!(KernelRow;
    // Without return type and namespaces, what tells kernels apart fits into the column.
    Column {
        title: "name",
        width: 0.0,
        is_number: false,
        tip: "",
        text: |row| kernel_name(&row.name),
        full: Some(|row| row.name.clone()),
        key: |row| Key::Text(&row.name),
    },
    number("share", NARROW, "part of the summed device time of the rank", |row: &KernelRow| percent(row.share), |row| {
        Key::Number(row.share)
    }),
    ;
);

/// Operators by name.
pub const OPERATORS: &[Column<OperatorRow>] = &[
    text("name", 0.0, "", |row: &OperatorRow| row.name.clone(), |row| Key::Text(&row.name)),
    number(
        "share",
        NARROW,
        "part of the summed device time of the rank that it launched itself",
        |row: &OperatorRow| percent(row.share),
        |row| Key::Number(row.share),
    ),
    number(
        "device",
        TIME,
        "device time launched by it and what it calls",
        |row| time(row.device_total_ns),
        |row| Key::whole(row.device_total_ns),
    ),
    number(
        "device self",
        TIME,
        "device time that it launched itself",
        |row| time(row.device_self_ns),
        |row| Key::whole(row.device_self_ns),
    ),
    number(
        "host",
        TIME,
        "time on the host with what it calls",
        |row| time(row.host_total_ns),
        |row| Key::whole(row.host_total_ns),
    ),
    number(
        "host self",
        TIME,
        "time on the host without what it calls",
        |row| time(row.host_self_ns),
        |row| Key::whole(row.host_self_ns),
    ),
    number(
        "calls",
        NARROW,
        "how often it was called",
        |row: &OperatorRow| thousands(row.calls),
        |row| Key::Number(row.calls as f64),
    ),
    number(
        "device events",
        96.0,
        "kernels, copies and fills",
        |row: &OperatorRow| thousands(row.device_events),
        |row| Key::Number(row.device_events as f64),
    ),
];

/// Copies and fills by direction and name.
pub const COPIES: &[Column<CopyRow>] = with_stats!(CopyRow;
    text("copies and fills", 0.0, "", |row: &CopyRow| row.name.clone(), |row| Key::Text(&row.name)),
    ;
    number("bytes", TIME, "bytes moved, where the file says so", |row: &CopyRow| maybe_bytes(row.bytes), |row| {
        Key::maybe(as_f64(row.bytes))
    }),
    number("rate", 92.0, "bytes ÷ duration", |row: &CopyRow| rate(row.gb_per_s), |row| Key::maybe(row.gb_per_s)),
);

/// Collectives by name, group and element type.
pub const COLLECTIVES: &[Column<CollectiveRow>] = with_stats!(CollectiveRow;
    text("collectives", 0.0, "", |row: &CollectiveRow| collective_name(row), |row| Key::Text(&row.name)),
    ;
    number("bytes", TIME, "bytes sent, where the file says so", |row: &CollectiveRow| maybe_bytes(row.bytes), |row| {
        Key::maybe(as_f64(row.bytes))
    }),
    number(
        "bus rate",
        92.0,
        "rate on the wire, as nccl-tests counts it; waiting for late ranks lowers it",
        |row: &CollectiveRow| rate(row.bus_gb_per_s),
        |row| Key::maybe(row.bus_gb_per_s),
    ),
);

/// A kernel's name from its base name on, template arguments included: they often are the only difference.
#[must_use]
pub fn kernel_name(name: &str) -> String {
    let base = display_name(name);
    let rest = name.find(base.as_ref()).and_then(|start| name.get(start..)).unwrap_or(name);
    ["at::native::", "(anonymous namespace)::", "cutlass::"]
        .iter()
        .fold(rest.to_owned(), |text, noise| text.replace(noise, ""))
}

/// `all_to_all · Float · 8 ranks · default_pg`.
fn collective_name(row: &CollectiveRow) -> String {
    let mut text = if row.name.is_empty() { row.collective.label().to_owned() } else { row.name.clone() };
    for part in [&row.dtype, &row.group_description] {
        if !part.is_empty() {
            text.push_str(" · ");
            text.push_str(part);
        }
    }
    if let Some(size) = row.group_size {
        text.push_str(&format!(" · {size} ranks"));
    }
    if row.name != row.kernel && !row.kernel.is_empty() {
        text.push_str(" · ");
        text.push_str(&row.kernel);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_names_keep_what_tells_them_apart() {
        let full = "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float> >(int)";
        let other = "void at::native::vectorized_elementwise_kernel<4, at::native::sigmoid<float> >(int)";
        assert_eq!(kernel_name(full), "vectorized_elementwise_kernel<4, CUDAFunctor_add<float> >(int)");
        assert_ne!(kernel_name(full), kernel_name(other));
        assert_eq!(kernel_name("Memcpy HtoD (Pageable -> Device)"), "Memcpy HtoD (Pageable -> Device)");
        assert_eq!(kernel_name("volta_sgemm_128x32_nt"), "volta_sgemm_128x32_nt");
    }
}
