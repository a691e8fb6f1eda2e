//! What `/proc` and `/sys` say: threads, mappings, descendants, processors, permissions.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rustc_hash::FxHashMap;

/// A mapping that may be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) address: u64,
    pub(crate) len: u64,
    pub(crate) file_offset: u64,
    pub(crate) path: String,
}

fn number(name: &std::ffi::OsStr) -> Option<u32> {
    name.to_str()?.parse().ok()
}

/// Threads of a process, ascending; empty where it is gone.
pub(crate) fn threads(pid: u32) -> Vec<u32> {
    let mut tids: Vec<u32> = fs::read_dir(format!("/proc/{pid}/task"))
        .map(|entries| entries.flatten().filter_map(|entry| number(&entry.file_name())).collect())
        .unwrap_or_default();
    tids.sort_unstable();
    tids
}

/// A thread's short name.
pub(crate) fn thread_name(pid: u32, tid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm")).ok().map(|name| name.trim_end_matches('\n').to_owned())
}

/// Mappings that may be run; empty where the process is gone or not ours to look at.
pub(crate) fn mappings(pid: u32) -> Vec<Mapping> {
    let text = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().filter_map(mapping).collect()
}

/// Whether a process may not be looked into, because of who it is.
#[cfg(feature = "python")]
pub(crate) fn is_closed(pid: u32) -> bool {
    fs::File::open(format!("/proc/{pid}/maps")).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// One line of `/proc/PID/maps`, if it is of a mapping that may be run.
fn mapping(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let address = u64::from_str_radix(start, 16).ok()?;
    let len = u64::from_str_radix(end, 16).ok()?.checked_sub(address)?;
    if !fields.next()?.contains('x') {
        return None;
    }
    let file_offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let path = fields.nth(2).unwrap_or_default().trim_start();
    Some(Mapping { address, len, file_offset, path: path.to_owned() })
}

/// The given processes that exist, and all their descendants.
pub(crate) fn with_descendants(roots: &[u32]) -> BTreeSet<u32> {
    let mut children: FxHashMap<u32, Vec<u32>> = FxHashMap::default();
    let mut alive = BTreeSet::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = number(&entry.file_name()) else { continue };
        let Some(parent) = parent(&entry.path()) else { continue };
        alive.insert(pid);
        children.entry(parent).or_default().push(pid);
    }
    let mut found = BTreeSet::new();
    let mut queue: Vec<u32> = roots.iter().copied().filter(|pid| alive.contains(pid)).collect();
    while let Some(pid) = queue.pop() {
        if found.insert(pid) {
            queue.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found
}

/// The parent, from `stat`: the second field after the name, which may hold spaces and brackets itself.
fn parent(folder: &Path) -> Option<u32> {
    let stat = fs::read(folder.join("stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Processors that are online. At least processor 0.
pub(crate) fn online_cpus() -> Vec<u32> {
    let text = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let cpus = cpu_list(text.trim());
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// `0-3,8` as numbers.
fn cpu_list(text: &str) -> Vec<u32> {
    text.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?.min(65_535))
        })
        .flatten()
        .collect()
}

/// `kernel.perf_event_paranoid`, where it can be read.
pub(crate) fn paranoid_level() -> Option<i32> {
    fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?.trim().parse().ok()
}

/// Whether the kernel shows the addresses of its functions to us.
pub(crate) fn kernel_addresses_shown() -> bool {
    use std::io::Read;
    let mut start = [0; 16];
    let read = fs::File::open("/proc/kallsyms").and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start.iter().any(|digit| *digit != b'0')
}

/// Folder through which the files of a process are found when it lives in another mount namespace than we do.
pub(crate) fn foreign_root(pid: u32) -> Option<String> {
    let ours = fs::read_link("/proc/self/ns/mnt").ok()?;
    let theirs = fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()?;
    (ours != theirs).then(|| format!("/proc/{pid}/root"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        let line = "7f10-7f50 r-xp 00001000 fe:00 1234                       /lib/a b.so (deleted)";
        let expected =
            Mapping { address: 0x7f10, len: 0x40, file_offset: 0x1000, path: "/lib/a b.so (deleted)".into() };
        assert_eq!(mapping(line), Some(expected));
        assert_eq!(mapping("7f10-7f50 rw-p 00001000 fe:00 1234 /lib/a.so"), None);
        assert_eq!(mapping("7f50-7f10 r-xp 00001000 fe:00 1234 /lib/a.so"), None);
        assert_eq!(mapping("7f10-7f50 r-xp 0 0:0 0").map(|mapping| mapping.path), Some(String::new()));
        assert_eq!(mapping("nonsense"), None);
        let own = mappings(std::process::id());
        assert!(own.iter().any(|mapping| mapping.path.contains("gapless_sample")), "{own:?}");
    }

    #[test]
    fn lists_of_processors() {
        assert_eq!(cpu_list("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(cpu_list(""), Vec::<u32>::new());
        assert!(online_cpus().len() >= std::thread::available_parallelism().map_or(1, usize::from));
    }

    #[test]
    fn descendants_include_the_root() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep").arg("30").spawn().expect("sleep");
        let found = with_descendants(&[own]);
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert!(found.contains(&own) && found.contains(&child.id()));
        assert!(with_descendants(&[u32::MAX]).is_empty());
    }
}
