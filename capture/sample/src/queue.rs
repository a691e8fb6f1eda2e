//! Queues between the sampler's threads: bounded for what there is much of, and what does not fit is counted in place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Something that waits in a queue.
pub(crate) trait Queued {
    /// Bytes that it takes, about. `None` where it must not be dropped.
    fn droppable_bytes(&self) -> Option<usize>;
    /// An entry that says how many were dropped where it stands.
    fn lost(count: u64) -> Self;
}

/// The sending end. Each clone counts its own drops.
pub(crate) struct Outlet<T> {
    sender: Sender<T>,
    queued_bytes: Arc<AtomicUsize>,
    limit_bytes: usize,
    dropped: u64,
}

impl<T> Clone for Outlet<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            queued_bytes: self.queued_bytes.clone(),
            limit_bytes: self.limit_bytes,
            dropped: 0,
        }
    }
}

/// The receiving end.
pub(crate) struct Inlet<T> {
    receiver: Receiver<T>,
    queued_bytes: Arc<AtomicUsize>,
}

/// A queue that holds at most about so many bytes of what may be dropped.
pub(crate) fn queue<T: Queued>(limit_bytes: usize) -> (Outlet<T>, Inlet<T>) {
    let (sender, receiver) = channel();
    let queued_bytes = Arc::new(AtomicUsize::new(0));
    (Outlet { sender, queued_bytes: queued_bytes.clone(), limit_bytes, dropped: 0 }, Inlet { receiver, queued_bytes })
}

impl<T: Queued> Outlet<T> {
    /// Sends, or drops and counts. False once nobody receives any more.
    pub(crate) fn send(&mut self, item: T) -> bool {
        let bytes = item.droppable_bytes();
        if let Some(bytes) = bytes {
            if self.queued_bytes.load(Ordering::Relaxed).saturating_add(bytes) > self.limit_bytes {
                self.dropped += 1;
                return true;
            }
            self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        self.tell_dropped() && self.sender.send(item).is_ok()
    }

    /// Says what was dropped, if anything was.
    pub(crate) fn tell_dropped(&mut self) -> bool {
        let dropped = std::mem::take(&mut self.dropped);
        dropped == 0 || self.sender.send(T::lost(dropped)).is_ok()
    }
}

impl<T: Queued> Inlet<T> {
    fn taken(&self, item: T) -> T {
        if let Some(bytes) = item.droppable_bytes() {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        item
    }

    /// The next entry, if one is there.
    pub(crate) fn take(&self) -> Option<T> {
        self.receiver.try_recv().ok().map(|item| self.taken(item))
    }

    /// The next entry; `None` once all senders are gone and the queue is empty.
    pub(crate) fn wait(&self) -> Option<T> {
        self.receiver.recv().ok().map(|item| self.taken(item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Item {
        Heavy(u32),
        Kept(u32),
        Lost(u64),
    }

    impl Queued for Item {
        fn droppable_bytes(&self) -> Option<usize> {
            matches!(self, Item::Heavy(_)).then_some(10)
        }

        fn lost(count: u64) -> Self {
            Item::Lost(count)
        }
    }

    #[test]
    fn drops_are_told_where_they_happened() {
        let (mut outlet, inlet) = queue(25);
        for number in 0..5 {
            assert!(outlet.send(Item::Heavy(number)));
        }
        assert!(outlet.send(Item::Kept(9)));
        let all: Vec<Item> = std::iter::from_fn(|| inlet.take()).collect();
        assert_eq!(all, [Item::Heavy(0), Item::Heavy(1), Item::Lost(3), Item::Kept(9)]);
        // There is room again.
        assert!(outlet.send(Item::Heavy(5)));
        assert_eq!(inlet.wait(), Some(Item::Heavy(5)));
        for number in 6..9 {
            outlet.send(Item::Heavy(number));
        }
        assert!(outlet.tell_dropped());
        drop(outlet);
        let all: Vec<Item> = std::iter::from_fn(|| inlet.wait()).collect();
        assert_eq!(all, [Item::Heavy(6), Item::Heavy(7), Item::Lost(1)]);
        let (mut outlet, inlet) = queue(25);
        drop(inlet);
        assert!(!outlet.send(Item::Kept(1)));
    }
}
