//! A small table from handles to facts that is read without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

/// Places looked at for one handle.
const PROBES: usize = 64;
const EMPTY: u64 = 0;
/// A handle was here; what lies behind is still looked for.
const GONE: u64 = 1;

/// One place of a table.
pub(super) struct Place<V> {
    pub(super) key: AtomicU64,
    pub(super) value: V,
}

/// A table of `N` places, `N` a power of two. What a handle stands for is written before the handle, and a place is
/// used for another handle only after MPI was told that the first is free, so who has found a place may use it.
pub(super) struct Places<V: 'static, const N: usize> {
    pub(super) places: [Place<V>; N],
    pub(super) writing: Mutex<()>,
}

impl<V, const N: usize> Places<V, N> {
    fn around(&'static self, handle: u64) -> impl Iterator<Item = &'static Place<V>> {
        let hash = handle.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (0..PROBES).filter_map(move |step| self.places.get((hash as usize + step) & (N - 1)))
    }

    /// What is known of a handle.
    #[inline(always)]
    pub(super) fn find(&'static self, handle: u64) -> Option<&'static V> {
        for place in self.around(handle) {
            match place.key.load(Ordering::Acquire) {
                EMPTY => return None,
                found if found == handle => return Some(&place.value),
                _ => {}
            }
        }
        None
    }

    /// Makes a handle known; `fill` writes its facts. `None` where there is no room near its place.
    pub(super) fn add(&'static self, handle: u64, fill: impl FnOnce(&V)) -> Option<&'static V> {
        let _guard = self.lock();
        if handle <= GONE {
            return None;
        }
        if let Some(known) = self.find(handle) {
            return Some(known);
        }
        let place = self.around(handle).find(|place| place.key.load(Ordering::Relaxed) <= GONE)?;
        fill(&place.value);
        place.key.store(handle, Ordering::Release);
        Some(&place.value)
    }

    /// Forgets a handle.
    pub(super) fn remove(&'static self, handle: u64) {
        let _guard = self.lock();
        for place in self.around(handle) {
            match place.key.load(Ordering::Relaxed) {
                EMPTY => return,
                found if found == handle => return place.key.store(GONE, Ordering::Relaxed),
                _ => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
