//! The few system calls that the standard library does not offer.

// Credentials of a sender, user ids and file system sizes come from the kernel through C structs.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// The user whose rights this process has.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: takes no arguments and cannot fail.
    unsafe { libc::geteuid() }
}

/// Who is at the other end of a socket, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub pid: u32,
    pub user: u32,
}

impl From<libc::ucred> for Peer {
    fn from(from: libc::ucred) -> Self {
        // A sender outside of our process namespace has no number here: the kernel says 0.
        Self { pid: u32::try_from(from.pid).unwrap_or(0), user: from.uid }
    }
}

/// The peer of a connected stream socket.
pub(crate) fn peer_of(socket: &impl AsFd) -> io::Result<Peer> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe one live ucred.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(credentials.into()) } else { Err(io::Error::last_os_error()) }
}

/// Asks the kernel to attach the sender's credentials to each datagram.
pub(crate) fn want_credentials(socket: &UnixDatagram) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer and the length describe one live int.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PASSCRED,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// One datagram as it came.
#[derive(Debug)]
pub(crate) struct Datagram {
    /// Bytes that lie in the buffer.
    pub length: usize,
    /// It was longer than the buffer.
    pub is_cut: bool,
    /// The path that the sender is bound to; `None` for nameless and abstract senders.
    pub from: Option<PathBuf>,
    /// `None` where the kernel attached no credentials.
    pub peer: Option<Peer>,
}

/// Room for one ucred message, aligned as control messages must be.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Waits for one datagram, as long as the socket's read timeout says.
pub(crate) fn receive(socket: &UnixDatagram, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut control = Control([0; 64]);
    // SAFETY: both are plain C structs for which all zeros is a valid value.
    let (mut address, mut header): (libc::sockaddr_un, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
    let mut piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    header.msg_name = (&raw mut address).cast();
    header.msg_namelen = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    // SAFETY: every pointer in the header names a live buffer of the stated length. CLOEXEC: descriptors that a sender
    // smuggles in are closed below and, until then, reach no child.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
    let Ok(length) = usize::try_from(length) else { return Err(io::Error::last_os_error()) };
    let mut peer = None;
    // SAFETY: the header is the one that recvmsg filled; CMSG_* walk only within msg_control, and the data of a
    // credentials message is one ucred, read unaligned. Descriptors that came along are owned by nobody else: closed.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(&raw const header);
        while !message.is_null() {
            let (level, kind) = ((*message).cmsg_level, (*message).cmsg_type);
            let bytes = ((*message).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
            if level == libc::SOL_SOCKET && kind == libc::SCM_CREDENTIALS && bytes >= size_of::<libc::ucred>() {
                peer = Some(libc::CMSG_DATA(message).cast::<libc::ucred>().read_unaligned().into());
            } else if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
                for at in 0..bytes / size_of::<libc::c_int>() {
                    libc::close(libc::CMSG_DATA(message).cast::<libc::c_int>().add(at).read_unaligned());
                }
            }
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
    }
    let named = (header.msg_namelen as usize).saturating_sub(size_of::<libc::sa_family_t>());
    let name: Vec<u8> = address.sun_path.iter().take(named).map(|&c| c as u8).take_while(|&c| c != 0).collect();
    let from = (!name.is_empty()).then(|| PathBuf::from(std::ffi::OsStr::from_bytes(&name)));
    Ok(Datagram { length, is_cut: header.msg_flags & libc::MSG_TRUNC != 0, from, peer })
}

/// Bytes of the file system that holds a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    pub total_bytes: u64,
    /// What an ordinary user may still take.
    pub free_bytes: u64,
}

/// Size of the file system that holds `path`.
pub(crate) fn space_of(path: &Path) -> io::Result<Space> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    // SAFETY: a plain C struct for which all zeros is a valid value.
    let mut found: libc::statvfs = unsafe { zeroed() };
    // SAFETY: the path ends in a NUL and the struct is live.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let block = found.f_frsize;
    Ok(Space { total_bytes: block.saturating_mul(found.f_blocks), free_bytes: block.saturating_mul(found.f_bavail) })
}

/// Whether this process may make files in a folder.
pub(crate) fn is_writable(folder: &Path) -> bool {
    let Ok(path) = std::ffi::CString::new(folder.as_os_str().as_bytes()) else { return false };
    // SAFETY: the path ends in a NUL.
    unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::W_OK | libc::X_OK, libc::AT_EACCESS) == 0 }
}

/// Ends a process that leads a group of its own, and whatever it started in it.
pub(crate) fn kill_group(leader: u32) -> io::Result<()> {
    let group = libc::pid_t::try_from(leader).map_err(io::Error::other)?;
    // SAFETY: plain numbers; a group number above 1 names only that group.
    let result = if group > 1 { unsafe { libc::kill(-group, libc::SIGKILL) } } else { 0 };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
