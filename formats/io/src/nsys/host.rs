//! What threads did: calls of CUDA, of the OS library and of other traced libraries, costs of the profiler, samples.

use gapless_trace::{EventKind, TrackKind};

use super::scan::Row;
use super::sink::{ChainTable, NO_ID, Owner, Sink, pid_of, process_of, tid_of};

/// Columns that [`cuda_call`] reads.
pub(crate) const CUDA_CALL: &[&str] =
    &["start", "end", "globalTid", "correlationId", "nameId", "eventClass", "callchainId"];

/// Columns that [`os_call`] reads.
pub(crate) const OS_CALL: &[&str] = &["start", "end", "globalTid", "nameId|textId", "callchainId"];

/// Columns that [`other_call`] reads.
pub(crate) const OTHER_CALL: &[&str] = &["start", "end", "globalTid", "nameId|textId"];

/// Columns that [`overhead`] reads.
pub(crate) const OVERHEAD: &[&str] = &["start", "end", "globalTid", "nameId", "correlationId"];

/// Columns that [`sample`] reads.
pub(crate) const SAMPLE: &[&str] = &["start", "globalTid", "id", "cpuCycles"];

/// Whose a row with this `globalTid` is, and the thread.
fn owner(row: &Row<'_, '_>, index: usize) -> (Owner, i64) {
    match row.int(index) {
        Some(global) => (Owner::Process(process_of(global)), global),
        None => (Owner::System, 0),
    }
}

/// The name of a CUDA call without the version of its entry point (`cudaLaunchKernel_v7000`). A driver call's own
/// `_v2` stays: it is another function.
pub(crate) fn without_version(name: &str) -> &str {
    match name.rsplit_once("_v") {
        Some((plain, digits)) if digits.len() >= 4 && digits.bytes().all(|byte| byte.is_ascii_digit()) => plain,
        _ => name,
    }
}

/// Whether the name is a driver call's (`cuLaunchKernel`, not `cudaLaunchKernel`).
fn is_driver_call(name: &str) -> bool {
    name.strip_prefix("cu").is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_uppercase()))
}

/// Takes a call of the CUDA runtime or driver.
pub(crate) fn cuda_call(sink: &mut Sink<'_>, row: &Row<'_, '_>) {
    /// Class of driver calls.
    const DRIVER: i64 = 1;
    let shared = sink.shared;
    let (owner, thread) = owner(row, 2);
    let found = sink.of(owner);
    let Some((start, dur)) = found.span(row, 0, 1) else { return };
    let is_driver_class = row.int(5) == Some(DRIVER);
    let of_name = |name: &str| {
        let is_driver = is_driver_call(name) || (is_driver_class && !name.starts_with("cuda"));
        let kind = if is_driver { EventKind::DriverCall } else { EventKind::RuntimeCall };
        (without_version(name).to_owned(), kind)
    };
    let (name, kind) = match row.int(4) {
        Some(number) => found.call(shared, number, row, of_name),
        None => (found.chunk.strings.intern("call without a name"), EventKind::RuntimeCall),
    };
    let category = if kind == EventKind::DriverCall { "cuda_driver" } else { "cuda_runtime" };
    let category = found.fixed(category);
    let track = found.thread(TrackKind::Thread, thread);
    let correlation = found.correlation(row, 3);
    let args = found.args(row);
    found.chunk.push(start, dur, name, category, kind, track, correlation, NO_ID, args);
    if !shared.chains(ChainTable::Cuda).is_empty()
        && let Some(chain) = row.int(6)
    {
        found.stack(shared, ChainTable::Cuda, chain, 1);
    }
}

/// Takes a call of the OS library or of the system.
pub(crate) fn os_call(sink: &mut Sink<'_>, row: &Row<'_, '_>) {
    let shared = sink.shared;
    plain_call(sink, row, EventKind::OsCall);
    let (owner, _) = owner(row, 2);
    if !shared.chains(ChainTable::Os).is_empty()
        && row.int(0).is_some()
        && let Some(chain) = row.int(4)
    {
        sink.of(owner).stack(shared, ChainTable::Os, chain, 1);
    }
}

/// Takes a call of another traced library: cuBLAS, cuDNN, MPI, UCX, OpenACC, OpenMP, …
pub(crate) fn other_call(sink: &mut Sink<'_>, row: &Row<'_, '_>) {
    plain_call(sink, row, EventKind::Other);
}

fn plain_call(sink: &mut Sink<'_>, row: &Row<'_, '_>, kind: EventKind) {
    let shared = sink.shared;
    let category = category_of_table(sink.table_name());
    let (owner, thread) = owner(row, 2);
    let found = sink.of(owner);
    let Some((start, dur)) = found.span(row, 0, 1) else { return };
    let name = match row.int(3) {
        Some(number) => found.string(shared, number, row),
        None => found.chunk.strings.intern("call without a name"),
    };
    let category = found.fixed_text(category);
    let track = found.thread(TrackKind::Thread, thread);
    let args = found.args(row);
    found.chunk.push(start, dur, name, category, kind, track, NO_ID, NO_ID, args);
}

/// The category of the calls in a table: the word that its name begins with.
fn category_of_table(name: &str) -> &str {
    const WORDS: [(&str, &str); 9] = [
        ("OSRT", "osrt"),
        ("SYSCALL", "syscall"),
        ("CUBLAS", "cublas"),
        ("CUDNN", "cudnn"),
        ("MPI", "mpi"),
        ("UCP", "ucx"),
        ("OPENACC", "openacc"),
        ("OPENMP", "openmp"),
        ("NVVIDEO", "nvvideo"),
    ];
    WORDS.into_iter().find(|(prefix, _)| name.starts_with(prefix)).map_or(name, |(_, category)| category)
}

/// Takes a cost of the profiler.
pub(crate) fn overhead(sink: &mut Sink<'_>, row: &Row<'_, '_>) {
    let shared = sink.shared;
    let (owner, thread) = owner(row, 2);
    let found = sink.of(owner);
    let Some((start, dur)) = found.span(row, 0, 1) else { return };
    let name = match row.int(3) {
        Some(number) => found.string(shared, number, row),
        None => found.chunk.strings.intern("profiler overhead"),
    };
    let category = found.fixed("overhead");
    let track = found.thread(TrackKind::Thread, thread);
    let correlation = found.correlation(row, 4);
    let args = found.args(row);
    found.chunk.push(start, dur, name, category, EventKind::Overhead, track, correlation, NO_ID, args);
}

/// Takes a sample of a thread with its call chain.
pub(crate) fn sample(sink: &mut Sink<'_>, row: &Row<'_, '_>) {
    let shared = sink.shared;
    let (owner, thread) = owner(row, 1);
    let found = sink.of(owner);
    let Some(time) = found.time(row, 0) else { return };
    let chain = row.int(2).unwrap_or(row.id);
    let name = match shared.chains(ChainTable::Samples).innermost(chain) {
        Some((symbol, _)) => found.string(shared, symbol, row),
        None => found.chunk.strings.intern("sample without a call chain"),
    };
    let category = found.fixed("sample");
    let track = found.track(TrackKind::Samples, pid_of(thread), tid_of(thread));
    let args = found.args(row);
    // Cycles since the sample before; a sampler without a counter writes 0.
    let weight = row.int(3).and_then(|cycles| u64::try_from(cycles).ok()).filter(|&cycles| cycles > 0).unwrap_or(1);
    found.chunk.push(time, 0, name, category, EventKind::Sample, track, NO_ID, NO_ID, args);
    found.stack(shared, ChainTable::Samples, chain, weight);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_calls_lose_their_version_only() {
        let check = |name: &str, plain: &str| assert_eq!(without_version(name), plain);
        check("cudaLaunchKernel_v7000", "cudaLaunchKernel");
        check("cudaStreamGetCaptureInfo_v2_v11030", "cudaStreamGetCaptureInfo_v2");
        check("cuMemcpyHtoDAsync_v2", "cuMemcpyHtoDAsync_v2");
        check("cudaMalloc", "cudaMalloc");
        assert!(is_driver_call("cuLaunchKernelEx") && !is_driver_call("cudaMalloc") && !is_driver_call("cublasCreate"));
    }
}
