//! The datagrams of Kineto's on-demand protocol.
//!
//! A datagram is `{ u64 size; char kind[32]; u8 body[size] }`, little endian. Kineto sends
//!
//! - `req`: `{ i32 type; i32 n; i64 job; i32 pids[n] }`: "is there a configuration for me?", about once a second. Bit 1
//!   of `type` says that it could take one; it is off while a window runs. `pids` are the process and its ancestors.
//!   The answer is `req` with the text of a configuration, or with nothing.
//! - `ctxt`: `{ i32 gpu; i32 pid; i64 job }`: "I use this GPU". The answer is `ctxt` with an `i32` count of users.
//!
//! Source: dynolog's `ipcfabric` (`FabricManager.h`, `Utils.h`) and libkineto's `IpcFabricConfigClient.cpp`.

/// Bytes before the body.
const HEAD: usize = 40;
/// More ancestors than any process has; a larger count is a damaged datagram.
const MOST_PIDS: usize = 1024;
/// The bit of `type` that says that a configuration for activities could be taken.
const TAKES_ACTIVITIES: i32 = 2;

/// What a datagram says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// `req`
    Poll {
        /// It would take a configuration now.
        is_ready: bool,
        /// Slurm's job number, else 0.
        job_id: i64,
        /// The process, then its ancestors, as it sees them; empty from old versions.
        pids: Vec<u32>,
    },
    /// `ctxt`
    Register,
}

/// Why a datagram is not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// Less than a header and the fixed part of its body.
    Short,
    /// The sizes that it states are not those that it has.
    Size,
    /// Not a kind that we know.
    Kind,
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Reads one datagram, whole and nothing more.
pub(crate) fn read(datagram: &[u8]) -> Result<Message, Damage> {
    let size = i64_at(datagram, 0).ok_or(Damage::Short)?;
    let kind = datagram.get(8..HEAD).ok_or(Damage::Short)?;
    let body = datagram.get(HEAD..).ok_or(Damage::Short)?;
    if usize::try_from(size) != Ok(body.len()) {
        return Err(Damage::Size);
    }
    let kind = kind.split(|&b| b == 0).next().unwrap_or_default();
    match kind {
        b"req" => {
            let accepts = i32_at(body, 0).ok_or(Damage::Short)?;
            let count = usize::try_from(i32_at(body, 4).ok_or(Damage::Short)?).map_err(|_| Damage::Size)?;
            let job_id = i64_at(body, 8).ok_or(Damage::Short)?;
            let rest = body.get(16..).unwrap_or_default();
            // Old versions copy only the fixed part.
            if count > MOST_PIDS || !(rest.is_empty() || rest.len() == 4 * count) {
                return Err(Damage::Size);
            }
            let pids = rest.as_chunks::<4>().0.iter().map(|&four| u32::from_le_bytes(four)).collect();
            Ok(Message::Poll { is_ready: accepts & TAKES_ACTIVITIES != 0, job_id, pids })
        }
        b"ctxt" if body.len() >= 16 => Ok(Message::Register),
        b"ctxt" => Err(Damage::Short),
        _ => Err(Damage::Kind),
    }
}

/// An answer of the given kind ("req" or "ctxt").
pub(crate) fn write(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(HEAD + body.len());
    datagram.extend((body.len() as u64).to_le_bytes());
    datagram.extend(kind.as_bytes());
    datagram.resize(HEAD, 0);
    datagram.extend(body);
    datagram
}
