//! What can be recorded here, what blocks the rest, and how to get it.
