//! A table that threads read and fill without a lock: handles that a job creates by name, found again by hash.
//!
//! Nothing is ever taken out, so a found entry stays valid as long as the process lives, also in a forked child and
//! when the fork came in the middle of an insertion.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

struct Item<T> {
    key: u64,
    value: T,
}

/// At most three quarters of `PLACES` (a power of two) values by 64-bit key.
pub(crate) struct Table<T: 'static, const PLACES: usize> {
    places: [AtomicPtr<Item<T>>; PLACES],
    used: AtomicUsize,
}

impl<T: Sync + 'static, const PLACES: usize> Table<T, PLACES> {
    pub(crate) const fn new() -> Self {
        const { assert!(PLACES.is_power_of_two()) };
        Table { places: [const { AtomicPtr::new(null_mut()) }; PLACES], used: AtomicUsize::new(0) }
    }

    /// The value under this key.
    #[inline]
    pub(crate) fn get(&self, key: u64) -> Option<&'static T> {
        self.find(key).ok()
    }

    /// The value under this key, else the empty place where it belongs.
    #[inline]
    fn find(&self, key: u64) -> Result<&'static T, Option<&AtomicPtr<Item<T>>>> {
        let mut index = key as usize & (PLACES - 1);
        // A quarter of the places stays empty, so the way is short; its length is bounded all the same.
        for _ in 0..PLACES {
            let place = self.places.get(index).ok_or(None)?;
            // SAFETY: a place holds null or an item that is never freed.
            match unsafe { place.load(Ordering::Acquire).as_ref() } {
                Some(item) if item.key == key => return Ok(&item.value),
                Some(_) => index = (index + 1) & (PLACES - 1),
                None => return Err(Some(place)),
            }
        }
        Err(None)
    }

    /// The value under this key, made by `make` if it is new; `None` where the table is full.
    pub(crate) fn get_or_insert(&self, key: u64, make: impl FnOnce() -> T) -> Option<&'static T> {
        if let Ok(value) = self.find(key) {
            return Some(value);
        }
        if self.used.fetch_add(1, Ordering::Relaxed) >= PLACES / 4 * 3 {
            self.used.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let item = Box::into_raw(Box::new(Item { key, value: make() }));
        loop {
            match self.find(key) {
                Err(Some(place)) => {
                    if place.compare_exchange(null_mut(), item, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                        // SAFETY: just made and never freed.
                        return Some(unsafe { &(*item).value });
                    }
                }
                found => {
                    // Another thread was faster.
                    // SAFETY: nobody else has seen this item.
                    drop(unsafe { Box::from_raw(item) });
                    self.used.fetch_sub(1, Ordering::Relaxed);
                    return found.ok();
                }
            }
        }
    }
}

/// Two keys as one.
#[inline(always)]
pub(crate) fn join(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xd1b5_4a32_d192_ed03);
    ((product >> 64) as u64 ^ product as u64).max(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn threads_that_insert_the_same_keys_agree() {
        static TABLE: Table<u64, 4096> = Table::new();
        let seen: Vec<Vec<usize>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8)
                .map(|worker| {
                    scope.spawn(move || {
                        let mut places = vec![0; 2000];
                        for step in 0..2000u64 {
                            let key = (step * 7 + worker * 131) % 2000;
                            let value = TABLE.get_or_insert(join(key, 3), || key).unwrap();
                            assert_eq!(*value, key);
                            *places.get_mut(key as usize).unwrap() = std::ptr::from_ref(value) as usize;
                        }
                        places
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert!(seen.iter().all(|places| Some(places) == seen.first()));
    }

    #[test]
    fn a_full_table_refuses_and_still_finds() {
        static TABLE: Table<u64, 16> = Table::new();
        let kept = (0..100).filter(|&key| TABLE.get_or_insert(join(key, 1), || key).is_some()).count();
        assert_eq!(kept, 12);
        assert_eq!((0..100).filter(|&key| TABLE.get(join(key, 1)) == Some(&key)).count(), 12);
    }
}
