//! What `gapless ctl` and a recorder say to each other: one JSON object per line.
//!
//! ```text
//! {"request":"status"}                                    → {"response":"status", "pid":…, …}
//! {"request":"dump","seconds":10}                         → {"response":"done","text":"…"}
//! {"request":"detail","first":100,"count":3}              → {"response":"done","text":"…"}
//! {"request":"detail","duration_ms":500}                  → {"response":"error","text":"…"}
//! ```

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What is asked of a recorder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Begin to record, or go on after [`Request::Stop`].
    Start,
    /// Record nothing until [`Request::Start`]; the job runs on.
    Stop,
    /// Write what a flight recorder holds.
    Dump {
        /// Only the last so many seconds; all that is held when missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<f64>,
    },
    /// How the recording is.
    Status,
    /// Put a mark on the timeline, now.
    Mark {
        /// Its text.
        name: String,
    },
    /// Record one window in full detail.
    Detail(DetailWindow),
    /// End the recording; the job runs on.
    Quit,
}

/// Which window [`Request::Detail`] means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DetailWindow {
    /// By optimizer steps.
    Steps(StepWindow),
    /// By time, from now.
    Time(TimeWindow),
}

/// `count` steps from the step `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepWindow {
    /// The first step, counted from the beginning of the job.
    pub first: u64,
    /// How many steps.
    pub count: u64,
}

/// A length of time, from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeWindow {
    /// How long, in milliseconds.
    pub duration_ms: u64,
}

/// What a recorder answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// It was done.
    Done {
        /// What was done, for a human reader; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        text: String,
    },
    /// The answer to [`Request::Status`].
    Status(Box<Status>),
    /// It was not done.
    Error {
        /// Why, and what to do.
        text: String,
    },
}

/// How a recording is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The recorder's own process.
    pub pid: u32,
    /// The recording's folder.
    pub folder: PathBuf,
    /// What was started.
    pub command: Vec<String>,
    /// Whether events are kept at this moment.
    pub is_recording: bool,
    /// Milliseconds since the recorder began.
    pub uptime_ms: u64,
    /// Processes of the job that are alive.
    pub pids: Vec<u32>,
    /// Ranks among them, ascending.
    pub ranks: Vec<u32>,
    /// Events that were taken in.
    pub events: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// Events that were lost, for any reason.
    pub drops: u64,
    /// Bytes that may still be written before the disk budget is reached; none means no budget.
    pub disk_budget_left_bytes: Option<u64>,
    /// How full the fullest ring is, in thousandths.
    pub fullest_ring_permille: u32,
}
