//! Several rings for one interface, each with its share of the frames (`PACKET_FANOUT`, see packet(7)).
//!
//! Law: every frame is in one ring. The kernel shares them out by a hash of addresses and ports that is the
//! same for both directions of a flow, and gives to another ring what finds its own full.

#![expect(
    unsafe_code,
    reason = "an option of packet(7) that no library offers; see the two blocks"
)]

use std::{
    collections::BTreeMap,
    ffi::c_int,
    io,
    mem::size_of,
    os::fd::{AsRawFd, BorrowedFd},
    sync::{Arc, Mutex, PoisonError},
};

/// Who was in the group before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Joined {
    /// Nobody.
    Alone,
    /// Others, perhaps: until now they had all frames.
    Others,
}

/// Which group each interface has: the kernel's number for it.
#[derive(Clone, Debug, Default)]
pub struct Groups(Arc<Mutex<BTreeMap<String, u16>>>);

impl Groups {
    /// Puts a packet socket on this interface into the interface's group.
    pub(super) fn join(&self, interface: &str, socket: BorrowedFd<'_>) -> io::Result<Joined> {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = groups.get(interface) {
            // A group whose last member is gone is made again.
            set(socket, i32::from(*group))?;
            return Ok(Joined::Others);
        }
        // The kernel chooses a number that nobody else uses: somebody else's members would get our frames.
        let unique = c_int::try_from(libc::PACKET_FANOUT_FLAG_UNIQUEID).unwrap_or_default() << 16;
        set(socket, unique)?;
        // Its mode stands above the number.
        let group = u16::try_from(get(socket)? & 0xffff).unwrap_or_default();
        groups.insert(interface.to_owned(), group);
        Ok(Joined::Alone)
    }
}

fn set(socket: BorrowedFd<'_>, group: c_int) -> io::Result<()> {
    let mode = libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_ROLLOVER;
    let value = group | c_int::try_from(mode).unwrap_or_default() << 16;
    let length = libc::socklen_t::try_from(size_of::<c_int>()).unwrap_or_default();
    // SAFETY: the kernel reads `length` bytes behind the pointer, which are those of `value`.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_FANOUT,
            (&raw const value).cast(),
            length,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn get(socket: BorrowedFd<'_>) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of::<c_int>()).unwrap_or_default();
    // SAFETY: the kernel writes at most `length` bytes behind the pointer, which are those of `value`.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_FANOUT,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    if done == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}
