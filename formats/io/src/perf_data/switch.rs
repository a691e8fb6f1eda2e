//! The tracepoint `sched:sched_switch` in its raw form.

use memchr::memmem;

use super::fields::{Fields, text};

/// Name of the event.
pub(super) const SWITCH_EVENT: &[u8] = b"sched:sched_switch";
/// Letters of the states in which a thread stops, by bit.
const STATES: &[u8] = b"SDTtXZPI";
/// Bit of the state: the thread could have run on.
const PREEMPTED: [u64; 2] = [1 << 8, 1 << 11];

/// Where the fields of the event are; offset and size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SwitchFormat {
    prev_pid: (usize, usize),
    prev_state: (usize, usize),
    next_comm: (usize, usize),
    next_pid: (usize, usize),
}

/// A switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Switch<'a> {
    pub prev_tid: i32,
    /// As `perf script` writes it: `S`, `D`, `R+`, …
    pub prev_state: String,
    pub next_comm: &'a [u8],
    pub next_tid: i32,
}

impl Default for SwitchFormat {
    /// The layout of 64-bit kernels, for files that do not describe it.
    fn default() -> Self {
        Self { prev_pid: (24, 4), prev_state: (32, 8), next_comm: (40, 16), next_pid: (56, 4) }
    }
}

impl SwitchFormat {
    /// Reads the description that the kernel gives of the event out of the file's tracing data.
    pub fn find(tracing_data: &[u8]) -> Option<Self> {
        let from = memmem::find(tracing_data, b"name: sched_switch\n")?;
        let rest = tracing_data.get(from..)?;
        let description = rest.get(..memmem::find(rest, b"print fmt:")?)?;
        let place = |name: &str| {
            let line = description.split(|&byte| byte == b'\n').find_map(|line| {
                let line = std::str::from_utf8(line).ok()?.trim();
                let (declaration, rest) = line.strip_prefix("field:")?.split_once(';')?;
                let declared = declaration.split([' ', '[']).any(|word| word == name);
                declared.then_some(rest)
            })?;
            let number = |key: &str| {
                let rest = line.get(line.find(key)? + key.len()..)?;
                rest.split(';').next()?.trim().parse::<usize>().ok()
            };
            Some((number("offset:")?, number("size:")?))
        };
        Some(Self {
            prev_pid: place("prev_pid")?,
            prev_state: place("prev_state")?,
            next_comm: place("next_comm")?,
            next_pid: place("next_pid")?,
        })
    }

    /// Reads a switch from the raw fields of a sample.
    pub fn read<'a>(&self, raw: &'a [u8], big_endian: bool) -> Option<Switch<'a>> {
        let field = |(offset, size): (usize, usize)| raw.get(offset..offset.checked_add(size)?);
        let tid = |place| Fields::new(field(place)?, big_endian).i32();
        let state = field(self.prev_state)?;
        let mut fields = Fields::new(state, big_endian);
        let state = if state.len() == 8 { fields.u64()? } else { u64::from(fields.u32()?) };
        Some(Switch {
            prev_tid: tid(self.prev_pid)?,
            prev_state: state_text(state),
            next_comm: text(field(self.next_comm)?),
            next_tid: tid(self.next_pid)?,
        })
    }
}

fn state_text(state: u64) -> String {
    let low = (state & 0xFF) as u8;
    let mut out: Vec<String> = (0..8)
        .filter(|bit| low >> bit & 1 == 1)
        .filter_map(|bit| STATES.get(bit).map(|&letter| char::from(letter).to_string()))
        .collect();
    if out.is_empty() {
        out.push("R".to_owned());
    }
    let plus = if PREEMPTED.iter().any(|bit| state & bit != 0) { "+" } else { "" };
    format!("{}{plus}", out.join("|"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_kernels_description_says_where_fields_are() {
        let description = "name: other\nprint fmt: x\nname: sched_switch\nID: 9\nformat:\n\
            \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
            \tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;\n\
            \tfield:pid_t prev_pid;\toffset:24;\tsize:4;\tsigned:1;\n\
            \tfield:long prev_state;\toffset:32;\tsize:8;\tsigned:1;\n\
            \tfield:char next_comm[16];\toffset:40;\tsize:16;\tsigned:0;\n\
            \tfield:pid_t next_pid;\toffset:56;\tsize:4;\tsigned:1;\n\nprint fmt: y\n";
        assert_eq!(SwitchFormat::find(description.as_bytes()), Some(SwitchFormat::default()));
        assert_eq!(SwitchFormat::find(b"name: sched_switch\nprint fmt:"), None);
        let mut raw = vec![0u8; 64];
        raw[24] = 7;
        raw[32..34].copy_from_slice(&[0, 1]);
        raw[40..43].copy_from_slice(b"abc");
        raw[56] = 9;
        let got = SwitchFormat::default().read(&raw, false).unwrap();
        let expected = Switch { prev_tid: 7, prev_state: "R+".to_owned(), next_comm: b"abc", next_tid: 9 };
        assert_eq!(got, expected);
        assert_eq!(SwitchFormat::default().read(&raw[..59], false), None);
        assert_eq!(
            (state_text(1), state_text(0x41), state_text(0)),
            ("S".to_owned(), "S|P".to_owned(), "R".to_owned())
        );
    }
}
