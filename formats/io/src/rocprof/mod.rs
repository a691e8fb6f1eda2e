//! JSON of rocprofv3 (`--output-format json`, ROCprofiler-SDK): kernels, copies, HIP, HSA and RCCL calls, roctx ranges.
//!
//! Fields are those of `source/lib/output/generateJSON.cpp` and `rocprofiler-sdk/cxx/serialization/save.hpp`: under
//! `rocprofiler-sdk-tool` a list of one object per process (one object alone is read too) with `metadata`, `agents`, `strings`,
//! `kernel_symbols`, `callback_records` and `buffer_records`. Names are numbers into `strings.buffer_records` (kind and
//! operation), `kernel_symbols` and `strings.marker_api`.
//!
//! Times are nanoseconds since boot of the host, not Unix time. `correlation_id.internal` of device work is that of
//! the call that launched it.

mod document;
mod events;
mod names;

use std::sync::Arc;

use gapless_trace::{ArgValue, RawMeta, WarningKind};

use self::document::Document;
use self::events::Emitted;
use self::names::Names;
use crate::Progress;
use crate::error::Refused;
use crate::json::{get, int, keys_of_head, text};
use crate::readers::{Head, Input, ReadPart};
use crate::text::JsonText;

/// Whether `head` begins like a file of rocprofv3.
pub(crate) fn sniff(head: &Head<'_>) -> bool {
    keys_of_head(head.bytes).iter().any(|key| key.0 == b"rocprofiler-sdk-tool")
}

/// Reads a file of rocprofv3. All its processes are one rank.
pub(crate) fn read(input: &Input, progress: &dyn Progress) -> Result<Vec<ReadPart>, Refused> {
    let bytes: &[u8] = &input.bytes;
    let mut part = input.part();
    let document = Document::read(bytes, &input.limits, &mut part.warnings)?;
    let mut correlation_base = 0u32;
    for process in &document.processes {
        let names = Names::of(process);
        let pid = int(&process.metadata, "pid").unwrap_or(0);
        let Emitted { chunks, last_correlation } =
            events::emit(bytes, process, &names, pid, correlation_base, progress)?;
        // Each process counts its calls from 1.
        correlation_base = last_correlation;
        part.info.devices.extend(
            names
                .devices()
                .filter(|device| !part.info.devices.iter().any(|old| old.id == device.id))
                .collect::<Vec<_>>(),
        );
        part.chunks.extend(chunks);
        if part.info.host.is_none()
            && let Some(ArgValue::Dict(node)) = get(&process.metadata, "node")
        {
            part.info.host = Some(text(node, "hostname").to_owned()).filter(|host| !host.is_empty());
        }
        let mut header = process.metadata.clone();
        header.retain(|field| field.0 != "config");
        part.info.header.push(("rocprofiler-sdk-tool".to_owned(), ArgValue::Dict(header)));
    }
    let devices = part.info.devices.clone();
    if let Some(first) = part.chunks.first_mut() {
        for device in &devices {
            let pid = gapless_trace::RawId::Int(i64::from(device.id));
            let label = first.strings.intern(&format!("GPU {}", device.id));
            first.metas.push(RawMeta::ProcessLabels(pid, label));
        }
    }
    for (list, count, offset) in &document.left_out {
        part.warnings.add_many(WarningKind::UnknownPacket, gapless_trace::SourceId(0), *count, Some(*offset), list);
    }
    part.source.file_events = part.chunks.iter().map(|chunk| chunk.file_events).sum();
    part.args = Arc::new(JsonText::Plain(Arc::clone(&input.bytes)));
    Ok(vec![part.into()])
}
