//! Links between events: launch → device work (one to many), and flows.

use crate::{EventId, StrId};

/// Which call launched which device work, by correlation id. One launch may have many (CUDA/HIP graphs).
#[derive(Clone, Debug, Default)]
pub struct LaunchLinks {
    /// (launch, device work), sorted.
    pub(crate) by_launch: Vec<(EventId, EventId)>,
    /// Places in `by_launch`, sorted by device work.
    pub(crate) by_device: Vec<u32>,
}

impl LaunchLinks {
    pub(crate) fn new(mut pairs: Vec<(EventId, EventId)>) -> Self {
        pairs.sort_unstable();
        pairs.shrink_to_fit();
        let mut by_device: Vec<u32> = (0..pairs.len() as u32).collect();
        by_device.sort_unstable_by_key(|&place| pairs.get(place as usize).map(|pair| pair.1));
        Self { by_launch: pairs, by_device }
    }

    /// Number of links.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_launch.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_launch.is_empty()
    }

    /// All links as (launch, device work), sorted by launch, then by device work.
    #[must_use]
    pub fn pairs(&self) -> &[(EventId, EventId)] {
        &self.by_launch
    }

    /// The device work of `launch`, ascending; empty if it launched none.
    pub fn device_work_of(&self, launch: EventId) -> impl ExactSizeIterator<Item = EventId> + '_ {
        let from = self.by_launch.partition_point(|pair| pair.0 < launch);
        let rest = self.by_launch.get(from..).unwrap_or_default();
        let count = rest.partition_point(|pair| pair.0 <= launch);
        rest.get(..count).unwrap_or_default().iter().map(|pair| pair.1)
    }

    /// The call that launched `device`, if it is in the recording.
    #[must_use]
    pub fn launch_of(&self, device: EventId) -> Option<EventId> {
        let pair_at = |place: u32| self.by_launch.get(place as usize).copied();
        let from = self.by_device.partition_point(|&place| pair_at(place).is_some_and(|pair| pair.1 < device));
        let pair = pair_at(*self.by_device.get(from)?)?;
        (pair.1 == device).then_some(pair.0)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.by_launch.capacity() * size_of::<(EventId, EventId)>() + self.by_device.capacity() * 4
    }
}

/// An arrow between two events that is not a launch: forward to backward, async hand-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Where it starts.
    pub from: EventId,
    /// Where it ends.
    pub to: EventId,
    /// Its category (`fwdbwd`).
    pub category: StrId,
}
