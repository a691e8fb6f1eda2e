//! `gapless doctor`: what can be recorded on this machine, what blocks the rest, and how to get it.

use gapless_control::doctor::{DoctorOptions, examine};

use crate::args::DoctorArgs;
use crate::output;

pub fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let command = (!args.command.is_empty()).then(|| args.command.clone());
    let report = examine(&DoctorOptions { command, output: None });
    if args.json {
        return output::print_json(&report);
    }
    output::print(&report.render(output::width()))
}
