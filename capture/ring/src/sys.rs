//! The system calls that both sides use, with their errors as `io::Error`.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

/// Bytes of a page, for alignment only; 64 KiB pages are multiples of it and rings are mapped by their own system's.
pub const PAGE_BYTES: usize = 4096;

/// A clock in nanoseconds.
#[inline]
pub fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable; unknown clocks leave it zero.
    unsafe { libc::clock_gettime(clock, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// Sleeps, or until a signal comes; signal handlers may call it.
pub fn sleep_ns(ns: libc::c_long) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: ns };
    // SAFETY: the time is readable; what is left of it is not asked for.
    unsafe { libc::nanosleep(&time, std::ptr::null_mut()) };
}

/// Opens a file. Links are not followed, children do not inherit it.
pub fn open(path: &CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the path is a NUL-terminated string.
    let fd = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC | libc::O_NOFOLLOW, 0o600) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Bytes of a file.
pub fn file_len(fd: &OwnedFd) -> io::Result<u64> {
    // SAFETY: a zeroed `stat` is a valid one to write into.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and `stat` writable.
    if unsafe { libc::fstat(fd.as_raw_fd(), &mut stat) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(stat.st_size as u64)
}

/// A file beyond the process's limit of file sizes would not be an error but a signal that kills the job.
pub fn check_size_limit(len: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable.
    if unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) } == 0 && len > limit.rlim_cur {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    Ok(())
}

/// Bytes that are free for this user where the file lies.
pub fn free_bytes(fd: &OwnedFd) -> io::Result<u64> {
    // SAFETY: a zeroed `statvfs` is plain numbers, and writable; the descriptor is open.
    unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        if libc::fstatvfs(fd.as_raw_fd(), &mut stat) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Sets the length of a file.
pub fn set_len(fd: &OwnedFd, len: u64) -> io::Result<()> {
    check_size_limit(len)?;
    // SAFETY: the descriptor is open.
    if unsafe { libc::ftruncate(fd.as_raw_fd(), len as libc::off_t) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes sure that these bytes of the file have storage, so that touching them cannot fail.
pub fn reserve(fd: &OwnedFd, offset: u64, len: u64) -> io::Result<()> {
    check_size_limit(offset + len)?;
    loop {
        // SAFETY: the descriptor is open.
        let error = unsafe { libc::posix_fallocate(fd.as_raw_fd(), offset as libc::off_t, len as libc::off_t) };
        match error {
            0 => return Ok(()),
            libc::EINTR => {}
            other => return Err(io::Error::from_raw_os_error(other)),
        }
    }
}

/// Maps bytes of a file, shared and writable.
pub fn map(fd: &OwnedFd, offset: u64, len: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            fd.as_raw_fd(),
            offset as libc::off_t,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // Rings in a core file would only make it large. SAFETY: the range was just mapped.
    unsafe { libc::madvise(address, len, libc::MADV_DONTDUMP) };
    NonNull::new(address.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

/// Zeroed memory of this process alone, without the allocator of the job.
pub fn map_private(len: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: as for `map`.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(address.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

/// Gives a mapping back.
///
/// # Safety
/// The range must come from `map` or `map_private` and nothing may use it afterwards.
pub unsafe fn unmap(address: NonNull<u8>, len: usize) {
    // SAFETY: by this function's own contract.
    unsafe { libc::munmap(address.as_ptr().cast(), len) };
}

/// Thread id of the kernel.
pub fn thread_id() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    (unsafe { libc::syscall(libc::SYS_gettid) }) as u32
}

/// Name of the calling thread, zero padded.
pub fn thread_name() -> [u8; 16] {
    let mut name = [0u8; 16];
    // SAFETY: PR_GET_NAME writes at most 16 bytes.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    name
}
