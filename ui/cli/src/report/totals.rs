//! Sums of partitions over steps and ranks: what the sentence and the mean rows are made of.

use gapless_analysis::{IdleCause, Partition};

/// Partitions added up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub count: u64,
    pub duration_ns: i64,
    pub compute_ns: i64,
    pub exposed_comm_ns: i64,
    pub exposed_copy_ns: i64,
    pub other_device_ns: i64,
    pub idle_ns: i64,
    pub hidden_comm_ns: i64,
    pub idle_by_cause_ns: [i64; 5],
}

impl Totals {
    /// The sum of `partitions`. Times of a damaged file may be absurd; their sums must not overflow.
    pub fn of<'a>(partitions: impl IntoIterator<Item = &'a Partition>) -> Self {
        let mut totals = Self::default();
        for partition in partitions {
            totals.count += 1;
            totals.duration_ns = totals.duration_ns.saturating_add(partition.duration_ns);
            totals.compute_ns = totals.compute_ns.saturating_add(partition.compute_ns);
            totals.exposed_comm_ns = totals.exposed_comm_ns.saturating_add(partition.exposed_comm_ns);
            totals.exposed_copy_ns = totals.exposed_copy_ns.saturating_add(partition.exposed_copy_ns);
            totals.other_device_ns = totals.other_device_ns.saturating_add(partition.other_device_ns);
            totals.idle_ns = totals.idle_ns.saturating_add(partition.idle_ns);
            totals.hidden_comm_ns = totals.hidden_comm_ns.saturating_add(partition.hidden_comm_ns);
            for (sum, cause) in totals.idle_by_cause_ns.iter_mut().zip(IdleCause::ALL) {
                *sum = sum.saturating_add(partition.idle_by_cause.of(cause));
            }
        }
        totals
    }

    /// `total` per partition; zero when there are none.
    pub fn mean(&self, total: i64) -> i64 {
        i64::try_from(self.count).ok().filter(|&count| count > 0).map_or(0, |count| total / count)
    }

    /// The parts in the order of the bars, with their names.
    pub const fn parts(&self) -> [(&'static str, i64); 5] {
        [
            ("compute", self.compute_ns),
            ("exposed communication", self.exposed_comm_ns),
            ("exposed copies", self.exposed_copy_ns),
            ("other device work", self.other_device_ns),
            ("idle", self.idle_ns),
        ]
    }
}

impl Totals {
    /// The mean partition. Rounded to nanoseconds part by part: for display only.
    pub fn mean_partition(&self) -> Partition {
        Partition {
            duration_ns: self.mean(self.duration_ns),
            compute_ns: self.mean(self.compute_ns),
            exposed_comm_ns: self.mean(self.exposed_comm_ns),
            exposed_copy_ns: self.mean(self.exposed_copy_ns),
            other_device_ns: self.mean(self.other_device_ns),
            idle_ns: self.mean(self.idle_ns),
            hidden_comm_ns: self.mean(self.hidden_comm_ns),
            ..Partition::default()
        }
    }
}
