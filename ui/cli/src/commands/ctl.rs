//! `gapless ctl`: steers recordings that run.

use std::path::Path;

use gapless_control::discover::{Recorder, discover};
use gapless_control::message::{DetailWindow, Request, Response, Status, StepWindow, TimeWindow};
use gapless_control::socket::Client;
use gapless_trace::{Duration, thousands};
use serde_json::json;

use crate::args::{CtlArgs, CtlRequest, parse_duration, parse_steps};
use crate::failure::BadInput;
use crate::output;
use crate::text::clean;

pub fn run(args: &CtlArgs) -> anyhow::Result<()> {
    let request = request(&args.request)?;
    let recorders = chosen(args)?;
    let mut failed = None;
    for recorder in &recorders {
        let asked = Client::connect(&recorder.socket).and_then(|mut client| client.ask(&request));
        let response = asked.unwrap_or_else(|error| Response::Error { text: error.to_string() });
        if args.json {
            output::print_json(&json!({ "recorder": recorder, "answer": response }))?;
        } else {
            output::print(&text(recorder, &response))?;
        }
        if let Response::Error { text } = response {
            failed = Some(text);
        }
    }
    match failed {
        Some(text) if !args.json => Err(anyhow::Error::msg(text)),
        Some(_) => Err(anyhow::Error::msg("a recorder refused")),
        None => Ok(()),
    }
}

fn request(request: &CtlRequest) -> anyhow::Result<Request> {
    Ok(match request {
        CtlRequest::Status => Request::Status,
        CtlRequest::Start => Request::Start,
        CtlRequest::Stop => Request::Stop,
        CtlRequest::Dump { last } => Request::Dump { seconds: last.map(|last| last.0 as f64 / 1e9) },
        CtlRequest::Mark { name } => Request::Mark { name: name.clone() },
        CtlRequest::Detail { window } => Request::Detail(detail(window)?),
        CtlRequest::Quit => Request::Quit,
    })
}

fn detail(window: &str) -> anyhow::Result<DetailWindow> {
    if window.contains(':') {
        let steps = parse_steps(window).map_err(BadInput::new)?;
        return Ok(DetailWindow::Steps(StepWindow { first: steps.first, count: steps.count }));
    }
    let time = parse_duration(window).map_err(BadInput::new)?;
    Ok(DetailWindow::Time(TimeWindow { duration_ms: (time.0 / 1_000_000).max(1) as u64 }))
}

/// The recorders that are meant: the only one, the one that is named, or all.
fn chosen(args: &CtlArgs) -> anyhow::Result<Vec<Recorder>> {
    let all = discover();
    let listed = || {
        all.iter()
            .map(|recorder| format!("{} ({})", recorder.pid, recorder.command.join(" ")))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if all.is_empty() {
        return Err(BadInput::new("no recorder of this user runs on this machine")
            .hint("start one: gapless record -- COMMAND")
            .into());
    }
    if let Some(name) = &args.recorder {
        let folder = Path::new(name).canonicalize().ok();
        let found = all
            .iter()
            .find(|recorder| name.parse() == Ok(recorder.pid) || (folder.is_some() && recorder.folder == folder));
        return match found {
            Some(recorder) => Ok(vec![recorder.clone()]),
            None => Err(BadInput::new(format!("{name} is no recorder that runs"))
                .hint(format!("these run: {}", listed()))
                .into()),
        };
    }
    let is_list = matches!(args.request, CtlRequest::Status);
    if all.len() > 1 && !args.all && !is_list {
        return Err(BadInput::new("several recorders run; say which one, or --all")
            .hint(format!("--recorder PID; these run: {}", listed()))
            .into());
    }
    Ok(all)
}

fn text(recorder: &Recorder, response: &Response) -> String {
    match response {
        Response::Done { text } => format!("{}: {}\n", recorder.pid, clean(text)),
        Response::Status(status) => status_text(status),
        // Said by the error line.
        Response::Error { .. } => String::new(),
    }
}

fn status_text(status: &Status) -> String {
    let ns = i64::try_from(status.uptime_ms).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    let list = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "{}  {}  {}\n  folder     {}\n  processes  {}\n",
        status.pid,
        if status.is_recording { "recording" } else { "stopped" },
        clean(&status.command.join(" ")),
        clean(&status.folder.display().to_string()),
        if status.pids.is_empty() { "none yet".to_owned() } else { list(&status.pids) },
    );
    if !status.ranks.is_empty() {
        text.push_str(&format!("  ranks      {}\n", list(&status.ranks)));
    }
    text.push_str(&format!(
        "  written    {} events, {:.1} MB in {}; {} lost\n  rings      {:.1} % full at most\n",
        thousands(status.events),
        status.bytes as f64 / 1e6,
        Duration(ns),
        thousands(status.drops),
        f64::from(status.fullest_ring_permille) / 10.0
    ));
    if let Some(left) = status.disk_budget_left_bytes {
        text.push_str(&format!("  disk       {:.1} GB left to write\n", left as f64 / 1e9));
    }
    text
}
