//! Which events NCCL is asked for.

use std::ffi::c_int;

/// Bits of NCCL's event mask.
pub(super) mod bit {
    pub const GROUP: u32 = 0;
    pub const COLL: u32 = 1;
    pub const P2P: u32 = 2;
    pub const PROXY_OP: u32 = 3;
    pub const PROXY_STEP: u32 = 4;
    pub const PROXY_CTRL: u32 = 5;
    pub const KERNEL_CHANNEL: u32 = 6;
    pub const NET_PLUGIN: u32 = 7;
    pub const GROUP_API: u32 = 8;
    pub const COLL_API: u32 = 9;
    pub const P2P_API: u32 = 10;
    pub const KERNEL_LAUNCH: u32 = 11;
    pub const CE_COLL: u32 = 12;
    pub const CE_SYNC: u32 = 13;
    pub const CE_BATCH: u32 = 14;
    pub const KERNEL_PHASE: u32 = 15;
}

/// What `GAPLESS_NCCL` names, separated by commas, beside what is always there.
const VARIABLE: &str = "GAPLESS_NCCL";

fn bits(list: &[u32]) -> u32 {
    list.iter().fold(0, |mask, bit| mask | 1 << bit)
}

/// The mask for a version of the interface; what the version does not know is left out.
pub(super) fn mask(version: usize) -> c_int {
    mask_of(version, &std::env::var(VARIABLE).unwrap_or_default())
}

fn mask_of(version: usize, wanted: &str) -> c_int {
    let mut mask =
        bits(&[bit::COLL, bit::P2P, bit::GROUP_API, bit::COLL_API, bit::P2P_API, bit::KERNEL_LAUNCH, bit::CE_COLL]);
    if version < 5 {
        // Older versions tell only in groups which calls were made together.
        mask |= bits(&[bit::GROUP]);
    }
    for word in wanted.split(',').map(str::trim) {
        mask |= match word {
            "proxy" => bits(&[bit::PROXY_OP]),
            "steps" => bits(&[bit::PROXY_OP, bit::PROXY_STEP]),
            "network" => bits(&[bit::PROXY_OP, bit::PROXY_STEP, bit::NET_PLUGIN]),
            "channels" => bits(&[bit::KERNEL_CHANNEL]),
            "phases" => bits(&[bit::KERNEL_CHANNEL, bit::KERNEL_PHASE]),
            "copies" => bits(&[bit::CE_SYNC, bit::CE_BATCH]),
            _ => 0,
        };
    }
    (mask & known(version as u32)) as c_int
}

/// Events that a version has. RCCL gives bits that are free in its version a meaning of its own.
pub(super) fn known(version: u32) -> u32 {
    match version {
        ..=2 => 0x3f,
        3 | 4 => 0xff,
        5 => 0xfff,
        6 => 0x7fff,
        _ => 0xffff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_asked_for_what_it_knows() {
        assert_eq!([1, 2, 3, 4].map(|version| mask_of(version, "")), [7; 4]);
        assert_eq!([5, 6, 7].map(|version| mask_of(version, "")), [0xf06, 0x1f06, 0x1f06]);
        assert_eq!(mask_of(7, "channels"), 0x1f46);
        assert_eq!(mask_of(7, " steps , nonsense"), 0x1f1e);
        assert_eq!(mask_of(2, "network,phases"), 0x1f);
        assert_eq!(mask_of(7, "network,phases,copies"), 0xffde);
    }
}
