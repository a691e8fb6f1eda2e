//! FLOPs, bytes, counts and kernel times of every operator row of the reports under `expected/tracelens`, to 10⁻⁶.
//!
//! Figures follow TraceLens's rules (`Convention::TraceLens`); where ours differ, each place in the cost models says
//! why. Rows of serving traces whose operators were recorded while a graph was captured, in another file, have only
//! their formulas compared.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod common;

use std::collections::{BTreeMap, HashMap};

use common::{literal, rows, shared, trace};
use gapless_analysis::Convention;
use gapless_roofline::{Batch, Call, DType, HardwareTable, Operator, Requests, Roofline, cost, grouped_gemm};
use gapless_trace::{ArgValue, EventId, RankId, Trace};

const REPORTS: [&str; 12] = [
    "h100/bert-small",
    "h100/falconsai-vit",
    "h100/owlv2",
    "h100/qwen1.5-0.5b",
    "inference/sglang-decode-hipgraph",
    "inference/vllm-piecewise-hipgraph",
    "mi300/bert-small",
    "mi300/falconsai-vit",
    "mi300/owlv2",
    "mi300/qwen1.5-0.5b",
    "mi300/resnet-act-checkpoint",
    "triton-compile",
];

type Row = BTreeMap<String, String>;

/// The inputs of a row as an operator.
fn operator(row: &Row) -> Operator {
    let columns = ["Input Dims", "Input type", "Concrete Inputs"];
    let args = columns.iter().filter(|column| !row[**column].is_empty());
    let args: Vec<_> = args.map(|column| ((*column).to_owned(), literal(&row[*column]))).collect();
    // Parts of an operator that launched kernels beside other operators inside it.
    let name = row["name"].split("->").next().unwrap();
    Operator::from_args(name, &args)
}

fn number(text: &str) -> f64 {
    text.parse().unwrap()
}

fn is_close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-6 * expected.abs()
}

/// What TraceLens found out beside the inputs.
fn parameters(row: &Row) -> HashMap<String, ArgValue> {
    match literal(&row["perf_params"]) {
        ArgValue::Dict(entries) => entries.into_iter().collect(),
        _ => HashMap::new(),
    }
}

/// FLOPs and bytes of a row by our formulas and its rules.
fn figures(row: &Row) -> (f64, f64) {
    let parameters = parameters(row);
    // Columns that some rows leave empty are numbers with a point.
    let whole = |key: &str| parameters[key].to_string().parse::<f64>().unwrap() as i64;
    if row["name"].starts_with("pseudo_op::moe") {
        // The widths of the experts are in no input; TraceLens read them elsewhere.
        let of = |key: &str| whole(key) as f64;
        let (tokens, rows) = (of("num_tokens"), of("num_tokens") * of("topk"));
        let is_up = row["name"].ends_with("_up");
        let (inner, outer) =
            if is_up { (of("hidden_dim"), of("inter_dim")) } else { (of("inter_dim"), of("hidden_dim")) };
        // Up writes the gated half only.
        let (read, written) = if is_up { (tokens * inner, rows * outer) } else { (rows * inner, tokens * outer) };
        let gates = if is_up { 2.0 } else { 1.0 };
        let sizes = (read, written);
        let found = grouped_gemm(rows, inner, gates * outer, of("num_experts"), sizes, DType::Bf16, DType::F4);
        return (found.flops, found.bytes);
    }
    let mut operator = operator(row);
    if parameters.contains_key("c_sq") {
        let of = |kind: &str| {
            let of = |part: &str| u64::try_from(whole(&format!("{kind}_{part}"))).unwrap();
            Requests { queries: of("sq"), keys: of("sk"), queries_squared: of("sqsq"), queries_keys: of("sqsk") }
        };
        operator.batch = Some(Batch { context: of("c"), generation: of("g") });
    }
    let found = cost(&operator, Convention::TraceLens);
    let found = found.unwrap_or_else(|unknown| panic!("{} {}: {unknown:?}", row["name"], row["Input Dims"]));
    (found.flops, found.bytes)
}

#[test]
fn flops_and_bytes_of_every_row() {
    let Some(folder) = shared() else { return };
    let (mut compared, mut wrong, mut exceptions) = (0, Vec::new(), Vec::new());
    for report in REPORTS {
        for row in rows(&folder.join("expected/tracelens").join(report).join("unified_perf_summary.csv")) {
            if row["GFLOPS"].is_empty() {
                continue;
            }
            let (flops, bytes) = figures(&row);
            let expected_flops = number(&row["GFLOPS"]) * 1e9;
            // The column says MB and means MiB.
            let expected_bytes = row["Data Moved (MB)"].parse::<f64>().ok().map(|mib| mib * 1_048_576.0);
            let fits =
                is_close(flops, expected_flops) && expected_bytes.is_none_or(|expected| is_close(bytes, expected));
            compared += 1;
            let what = format!(
                "{report} {} {} {} {}: {flops} {bytes}, expected {expected_flops} {expected_bytes:?}",
                row["name"], row["Input Dims"], row["Input type"], row["Concrete Inputs"]
            );
            if fits {
            } else if row["name"] == "triton_poi_fused__to_copy_1" {
                // It was read from Inductor's own sources, which no trace holds, and lacks the FP32 argument.
                exceptions.push(what);
            } else {
                wrong.push(what);
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!((compared, exceptions.len()), (403, 1), "{exceptions:#?}");
}

/// A row of a table of one category (`GEMM.csv`) with the columns of the summary.
fn as_summary(row: &Row) -> Row {
    let plain = |column: &str| column.strip_suffix("_first").unwrap_or(column).to_owned();
    let mut found: Row = row.iter().map(|(column, value)| (plain(column), value.clone())).collect();
    let is_text = |value: &str| !value.starts_with(['(', '[', '\'']) && value.parse::<f64>().is_err();
    let parameters = row.iter().filter_map(|(column, value)| Some((column.strip_prefix("param: ")?, value)));
    let parameters = parameters.filter(|(_, value)| !value.is_empty());
    let parameters = parameters.map(|(name, value)| match is_text(value) {
        true => format!("'{name}': '{value}'"),
        false => format!("'{name}': {value}"),
    });
    found.insert("perf_params".to_owned(), format!("{{{}}}", parameters.collect::<Vec<_>>().join(", ")));
    found
}

#[test]
fn flops_and_bytes_of_every_table_of_a_category() {
    let Some(folder) = shared() else { return };
    let (mut tables, mut compared, mut wrong, mut exceptions) = (0, 0, Vec::new(), 0);
    for report in REPORTS {
        let files = std::fs::read_dir(folder.join("expected/tracelens").join(report)).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files {
            let rows = rows(&file);
            if !rows.first().is_some_and(|row| row.contains_key("GFLOPS_first")) {
                continue;
            }
            tables += 1;
            for row in rows.iter().map(as_summary).filter(|row| !row["GFLOPS"].is_empty()) {
                let (flops, bytes) = figures(&row);
                let expected = number(&row["GFLOPS"]) * 1e9;
                let expected_bytes = row["Data Moved (MB)"].parse::<f64>().ok().map(|mib| mib * 1_048_576.0);
                compared += 1;
                let fits = is_close(flops, expected) && expected_bytes.is_none_or(|expected| is_close(bytes, expected));
                if fits {
                } else if row["name"] == "aten::copy_" && row["Input type"].contains("'double'") {
                    // A number of the host becomes an element: TraceLens takes its type for that of the result.
                    exceptions += 1;
                } else {
                    wrong.push(format!(
                        "{} {} {}: {flops} {bytes}, expected {expected} {expected_bytes:?}",
                        file.display(),
                        row["name"],
                        row["Input Dims"]
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!((tables, compared, exceptions), (61, 443, 4));
}

/// Busy time of a call as TraceLens adds it up: floating-point µs of the file, an end being a rounded sum.
fn busy_us(trace: &Trace, call: &Call) -> f64 {
    let rank = trace.rank(RankId(0)).unwrap();
    let base = rank.base_time_ns.unwrap_or_default() + rank.clock_offset_ns;
    let mut merged: Vec<(f64, f64)> = Vec::new();
    // ROCm's tracer draws no arrow from these fills to their work, and TraceLens follows arrows.
    let is_followed = |id: &EventId| {
        let launch = trace.launches().launch_of(*id);
        launch.is_none_or(|launch| trace.name(launch) != "hipMemsetAsync")
    };
    for &id in call.work.iter().filter(|id| is_followed(id)) {
        let event = trace.event(id);
        let start = (event.start.nanos() - base) as f64 / 1e3;
        let end = start + event.dur.nanos() as f64 / 1e3;
        match merged.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged.iter().map(|(start, end)| end - start).sum()
}

/// Count, kernel time, and the sum of squares of what was compared.
#[derive(Default)]
struct Sums {
    count: u64,
    us: f64,
}

#[test]
fn counts_and_kernel_times_of_every_row_in_the_traces() {
    let Some(folder) = shared() else { return };
    let (mut compared, mut wrong, mut elsewhere) = (0, Vec::new(), 0);
    for report in REPORTS {
        let trace = trace(&folder, report);
        let table = HardwareTable::builtin();
        let roofline = Roofline::with(&trace, RankId(0), &table, None, Convention::TraceLens);
        assert!(roofline.device.is_some(), "{report}: {:?}", roofline.no_device);
        let mut found: HashMap<(Operator, bool), Sums> = HashMap::new();
        for call in roofline.calls() {
            let mut key = call.operator.clone();
            key.kernels.clear();
            key.batch = None;
            let sums = found.entry((key, call.is_recompute)).or_default();
            sums.count += 1;
            sums.us += busy_us(&trace, call);
        }
        // Rows that differ only in strides or threads are one operator here.
        let mut expected: HashMap<(Operator, bool), Sums> = HashMap::new();
        for row in rows(&folder.join("expected/tracelens").join(report).join("unified_perf_summary.csv")) {
            if row["Kernel Time (µs)_sum"].is_empty() {
                continue;
            }
            let recompute = row.get("is_recompute").is_some_and(|value| value == "True");
            let mut key = operator(&row);
            if key.name.starts_with("hip") {
                // Kernels that no operator launched are operators of TraceLens's making.
                let kernel = row["name"].split_once("->").unwrap().1;
                key = Operator::new(kernel.strip_suffix(" (Synthetic Op)").unwrap());
            }
            let sums = expected.entry((key, recompute)).or_default();
            sums.count += number(&row["operation_count"]) as u64;
            sums.us += number(&row["Kernel Time (µs)_sum"]);
        }
        for ((operator, recompute), expected) in expected {
            let what = format!("{report} {} {} {recompute}", operator.name, operator.shapes_text());
            match found.remove(&(operator, recompute)) {
                Some(found) if found.count == expected.count && is_close(found.us, expected.us) => compared += 1,
                Some(found) => {
                    wrong.push(format!(
                        "{what}: {} {}, expected {} {}",
                        found.count, found.us, expected.count, expected.us
                    ));
                }
                None if report.starts_with("inference/") => elsewhere += 1,
                None => wrong.push(format!("{what} is missing")),
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ, {compared} fit:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!((compared, elsewhere), (474, 31));
}
