//! Kineto JSON, written by hand as a stream.

use std::io::{self, Write};

use super::config::{Config, Era, Layout, Vendor};

/// A value of a field or an argument.
#[derive(Clone, Copy, Debug)]
pub enum Val<'a> {
    /// An integer.
    Int(i64),
    /// A text; it is escaped.
    Str(&'a str),
    /// JSON as it stands.
    Raw(&'a str),
    /// Nanoseconds, written in the era's microseconds.
    Us(i64),
}

/// A process, thread or stream id.
#[derive(Clone, Copy, Debug)]
pub enum Id<'a> {
    /// A number.
    Int(i64),
    /// A text (`"Spans"`).
    Str(&'a str),
    /// A text that ends in a number (`"stream 7"`).
    Stream(i64),
}

/// One event of any phase.
#[derive(Clone, Copy, Debug)]
pub struct Ev<'a> {
    /// Phase.
    pub ph: char,
    /// Category; empty for none.
    pub cat: &'a str,
    /// Name.
    pub name: &'a str,
    /// Process.
    pub pid: Id<'a>,
    /// Thread or stream.
    pub tid: Id<'a>,
    /// Recorded time in ns, the base included.
    pub ts: i64,
    /// Duration in ns of complete events.
    pub dur: Option<i64>,
    /// Id of a flow or an asynchronous event.
    pub id: Option<u64>,
    /// Arguments.
    pub args: &'a [(&'a str, Val<'a>)],
}

/// Bytes gathered before they go to the sink.
const FLUSH_BYTES: usize = 1 << 20;

/// Writes one trace file.
#[derive(Debug)]
pub struct KinetoWriter<W> {
    sink: W,
    buffer: Vec<u8>,
    layout: Layout,
    era: Era,
    base_ns: i64,
    any: bool,
    events: u64,
}

impl<W: Write> KinetoWriter<W> {
    /// Writes the header and opens the list of events.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn begin(sink: W, config: &Config, rank: u32, stamp: i64) -> io::Result<Self> {
        let base_ns = config.era.base_ns();
        let mut writer = Self {
            sink,
            buffer: Vec::with_capacity(FLUSH_BYTES + 4096),
            layout: config.layout,
            era: config.era,
            base_ns,
            any: false,
            events: 0,
        };
        let amd = config.vendor == Vendor::Amd;
        let device = if amd { "AMD Instinct MI300X" } else { "NVIDIA H100 80GB HBM3" };
        let memory: i64 = if amd { 206_141_652_992 } else { 85_018_279_936 };
        let (major, units) = if amd { (9, 304) } else { (9, 132) };
        let (nl, sp) = (writer.newline(), writer.space());
        let mut head = format!("{{{nl}  \"schemaVersion\":{sp}1,{nl}  \"deviceProperties\":{sp}[{nl}    {{");
        head += &format!(
            "\"id\":{sp}{id},{sp}\"name\":{sp}\"{device}\",{sp}\"totalGlobalMem\":{sp}{memory},{sp}\"computeMajor\":{sp}{major},{sp}\
             \"computeMinor\":{sp}0,{sp}\"maxThreadsPerBlock\":{sp}1024,{sp}\"warpSize\":{sp}{warp},{sp}\"numSms\":{sp}{units}",
            id = config.device_of(rank),
            warp = if amd { 64 } else { 32 },
        );
        head += &format!("}}{nl}  ],{nl}");
        let members: Vec<String> = (0..config.ranks).map(|member| member.to_string()).collect();
        head += &format!(
            "  \"distributedInfo\":{sp}{{\"backend\":{sp}\"nccl\",{sp}\"rank\":{sp}{rank},{sp}\"world_size\":{sp}{world},{sp}\
             \"pg_count\":{sp}1,{sp}\"pg_config\":{sp}[{{\"pg_name\":{sp}\"0\",{sp}\"pg_desc\":{sp}\"default_pg\",{sp}\
             \"backend_config\":{sp}\"cuda:nccl\",{sp}\"pg_size\":{sp}{world},{sp}\"ranks\":{sp}[{members}]}}]}},{nl}",
            world = config.ranks,
            members = members.join(if sp.is_empty() { "," } else { ", " }),
        );
        head += &format!("  \"record_shapes\":{sp}1,{nl}  \"with_stack\":{sp}1,{nl}");
        if config.era == Era::Relative {
            head += &format!("  \"baseTimeNanoseconds\":{sp}{base_ns},{nl}");
        }
        head += &format!("  \"displayTimeUnit\":{sp}\"ms\",{nl}  \"traceEvents\":{sp}[{nl}");
        writer.buffer.extend_from_slice(head.as_bytes());
        writer.process_names(config, rank, stamp)?;
        Ok(writer)
    }

    fn process_names(&mut self, config: &Config, rank: u32, stamp: i64) -> io::Result<()> {
        let (host, device) = (config.pid_of(rank), config.device_of(rank));
        let gpu = format!("GPU {device}");
        let mut meta = |pid: i64, tid: i64, name: &str, key: &str, value: Val<'_>| {
            self.event(&Ev {
                ph: 'M',
                cat: "",
                name,
                pid: Id::Int(pid),
                tid: Id::Int(tid),
                ts: stamp,
                dur: None,
                id: None,
                args: &[(key, value)],
            })
        };
        for (pid, label) in [(host, "CPU"), (device, gpu.as_str())] {
            meta(pid, 0, "process_name", "name", Val::Str("python3"))?;
            meta(pid, 0, "process_labels", "labels", Val::Str(label))?;
            let order = if pid == host { pid } else { 5_000_000 + pid };
            meta(pid, 0, "process_sort_index", "sort_index", Val::Int(order))?;
        }
        for (tid, role) in [(config.main_tid(rank), "python3"), (config.autograd_tid(rank), "pt_autograd_0")] {
            meta(host, tid, "thread_name", "name", Val::Str(&format!("thread {tid} ({role})")))?;
            meta(host, tid, "thread_sort_index", "sort_index", Val::Int(tid))?;
        }
        for stream in config.vendor.streams() {
            if config.era != Era::Legacy {
                meta(device, stream, "thread_name", "name", Val::Str(&format!("stream {stream} ")))?;
                meta(device, stream, "thread_sort_index", "sort_index", Val::Int(stream))?;
            }
        }
        Ok(())
    }

    const fn newline(&self) -> &'static str {
        match self.layout {
            Layout::Kineto | Layout::Pretty => "\n",
            Layout::Compact => "",
            Layout::Crlf => "\r\n",
        }
    }

    const fn space(&self) -> &'static str {
        if matches!(self.layout, Layout::Compact) { "" } else { " " }
    }

    /// Appends one event.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn event(&mut self, ev: &Ev<'_>) -> io::Result<()> {
        let (nl, sp) = (self.newline(), self.space());
        if self.any {
            self.buffer.push(b',');
            self.text(nl);
        }
        self.any = true;
        self.events += 1;
        // Kineto groups a few fields on a line; a pretty printer puts each on its own.
        let pretty = matches!(self.layout, Layout::Pretty);
        let group = if pretty { "\n      " } else { sp };
        let line = match self.layout {
            Layout::Kineto => "\n    ",
            Layout::Pretty => "\n      ",
            Layout::Compact => "",
            Layout::Crlf => "\r\n    ",
        };
        self.text(if matches!(self.layout, Layout::Compact) { "" } else { "  " });
        self.text("{");
        self.text(line);
        self.field("ph", Val::Str(ev.ph.encode_utf8(&mut [0; 4])));
        if !ev.cat.is_empty() {
            self.next(group);
            self.field("cat", Val::Str(ev.cat));
        }
        self.next(group);
        self.field("name", Val::Str(ev.name));
        if let Some(id) = ev.id {
            self.next(group);
            self.field("id", Val::Int(id as i64));
        }
        self.next(group);
        self.id_field("pid", ev.pid);
        self.next(group);
        self.id_field("tid", ev.tid);
        self.next(line);
        self.field("ts", Val::Us(ev.ts - self.base_ns));
        if let Some(dur) = ev.dur {
            self.next(group);
            self.field("dur", Val::Us(dur));
        }
        if ev.ph == 'f' {
            self.next(group);
            self.field("bp", Val::Str("e"));
        }
        if ev.ph == 'i' {
            self.next(group);
            self.field("s", Val::Str("t"));
        }
        if !ev.args.is_empty() {
            self.next(line);
            self.text("\"args\":");
            self.text(sp);
            self.text("{");
            for (index, &(key, value)) in ev.args.iter().enumerate() {
                if index > 0 {
                    self.text(",");
                }
                if index == 0 || pretty {
                    self.text(line);
                    self.text(if matches!(self.layout, Layout::Compact) { "" } else { "  " });
                } else {
                    self.text(sp);
                }
                self.field(key, value);
            }
            self.text(line);
            self.text("}");
        }
        self.text(nl);
        self.text(if matches!(self.layout, Layout::Compact) { "" } else { "  " });
        self.text("}");
        if self.buffer.len() >= FLUSH_BYTES {
            self.sink.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Closes the list and the file, and gives back the sink and the number of events.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn end(mut self) -> io::Result<(W, u64)> {
        let (nl, sp) = (self.newline(), self.space());
        let tail = format!("{nl}  ],{nl}  \"traceName\":{sp}\"synthetic\"{nl}}}{nl}");
        self.text(&tail);
        self.sink.write_all(&self.buffer)?;
        self.sink.flush()?;
        Ok((self.sink, self.events))
    }

    fn text(&mut self, text: &str) {
        self.buffer.extend_from_slice(text.as_bytes());
    }

    fn next(&mut self, gap: &str) {
        self.text(",");
        self.text(gap);
    }

    fn id_field(&mut self, key: &str, id: Id<'_>) {
        match id {
            Id::Int(value) => self.field(key, Val::Int(value)),
            Id::Str(text) => self.field(key, Val::Str(text)),
            Id::Stream(stream) => self.field(key, Val::Str(&format!("stream {stream}"))),
        }
    }

    fn field(&mut self, key: &str, value: Val<'_>) {
        self.text("\"");
        self.text(key);
        self.text("\":");
        self.text(self.space());
        match value {
            Val::Int(number) => self.number(number),
            Val::Raw(json) => self.text(json),
            Val::Str(text) => {
                self.text("\"");
                escape_into(&mut self.buffer, text);
                self.text("\"");
            }
            Val::Us(nanos) => self.micros(nanos),
        }
    }

    fn number(&mut self, value: i64) {
        if value < 0 {
            self.buffer.push(b'-');
        }
        let mut digits = [0_u8; 20];
        let mut at = digits.len();
        let mut rest = value.unsigned_abs();
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.buffer.extend_from_slice(&digits[at..]);
    }

    fn micros(&mut self, nanos: i64) {
        if nanos < 0 {
            self.buffer.push(b'-');
        }
        let (whole, rest) = ((nanos.unsigned_abs() / 1000) as i64, nanos.unsigned_abs() % 1000);
        self.number(whole);
        if self.era.is_integer() {
            return;
        }
        let digits = [b'.', b'0' + (rest / 100) as u8, b'0' + (rest / 10 % 10) as u8, b'0' + (rest % 10) as u8];
        // Kineto writes three digits; programs that write the file anew drop trailing zeros.
        let keep = match (self.layout, rest) {
            (Layout::Kineto | Layout::Crlf, _) => 4,
            (_, 0) => 0,
            (_, _) if rest.is_multiple_of(100) => 2,
            (_, _) if rest.is_multiple_of(10) => 3,
            _ => 4,
        };
        self.buffer.extend_from_slice(&digits[..keep]);
    }
}

/// Appends `text` as the inside of a JSON string.
pub fn escape_into(out: &mut Vec<u8>, text: &str) {
    for &byte in text.as_bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
}
