//! Asks the processor for memory before it is needed: a packet's state is in nobody's cache when a thousand
//! other calls were looked at since the last one.
#![expect(unsafe_code, reason = "an instruction that has no effect but on caches; see the blocks")]

/// Bytes that come into a cache at once.
pub(crate) const LINE: usize = 64;

/// Asks for `lines` lines from an address on. It need not be valid.
#[inline]
pub(crate) fn ask<T>(from: *const T, lines: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..lines {
        let at = from.cast::<i8>().wrapping_add(line * LINE);
        // SAFETY: PREFETCHT0 is part of SSE, which every x86-64 has, reads nothing and never faults.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _nothing = (from, lines);
}

/// The same for memory that will be written, and that another processor may have read.
#[inline]
pub(crate) fn ask_to_write<T>(from: *const T, lines: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..lines {
        let at = from.cast::<u8>().wrapping_add(line * LINE);
        // SAFETY: PREFETCHW reads nothing and never faults; x86-64 processors without it do nothing.
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _nothing = (from, lines);
}
