//! The report: its numbers on a trace whose answer is known, its text, its options.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use common::{Scratch, cpu_trace, gpu_trace, run_of_four};
use serde_json::{Value, json};

/// The named fields of an object.
fn fields(value: &Value, names: &[&str]) -> Vec<i64> {
    names.iter().map(|name| value[name].as_i64().unwrap_or_else(|| panic!("no {name} in {value:#}"))).collect()
}

#[test]
fn the_numbers_are_exact() {
    let scratch = Scratch::new();
    scratch.write("t.json", gpu_trace(0, 1));
    let report = scratch.gapless(&["analyze", "--json", "t.json"]).ok().json();
    assert_eq!((&report["schema_version"], &report["command"]), (&json!(1), &json!("analyze")));
    let rank = &report["ranks"][0];
    assert_eq!((&rank["rank"], &rank["device_events"]), (&json!(0), &json!(6)));
    assert!(rank["file"].as_str().unwrap().ends_with("t.json"));
    let whole = [
        ("span_ns", 1_750_000),
        ("busy_ns", 1_300_000),
        ("idle_ns", 450_000),
        ("compute_union_ns", 800_000),
        ("comm_union_ns", 800_000),
        ("mem_union_ns", 100_000),
        ("overlap_comm_compute_ns", 400_000),
        ("exposed_comm_ns", 400_000),
    ];
    for (name, ns) in whole {
        assert_eq!(rank[name], json!(ns), "{name}");
    }
    let steps = rank["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 2);
    for (step, name) in steps.iter().zip(["ProfilerStep#11", "ProfilerStep#12"]) {
        assert_eq!(step["name"], name);
        let parts = fields(step, &["compute_ns", "exposed_comm_ns", "exposed_copy_ns", "other_device_ns", "idle_ns"]);
        assert_eq!(parts, [400_000, 200_000, 50_000, 0, 350_000]);
        assert_eq!(fields(step, &["duration_ns", "hidden_comm_ns"]), [1_000_000, 200_000]);
        assert_eq!(parts.iter().sum::<i64>(), step["duration_ns"].as_i64().unwrap());
        let causes: i64 = step["idle_by_cause"].as_object().unwrap().values().map(|ns| ns.as_i64().unwrap()).sum();
        assert_eq!(causes, 350_000);
    }
}

#[test]
fn the_text_says_what_fills_a_step() {
    let scratch = Scratch::new();
    scratch.write("t.json", gpu_trace(0, 1));
    let text = scratch.gapless(&["analyze", "t.json"]).ok();
    let first = text.stdout.lines().next().unwrap();
    assert!(first.starts_with("A step takes 1.00 ms"), "{first}");
    let sentence = text.stdout.split("\n\n").next().unwrap().replace('\n', " ");
    for part in ["40.0 % compute", "35.0 % idle", "20.0 % exposed communication"] {
        assert!(sentence.contains(part), "{part:?} is not in {sentence:?}");
    }
    for part in
        ["ProfilerStep#12", "sgemm_64x64", "aten::mm", "HtoD", "all-reduce", "cudaLaunchKernel", "20.0 GB/s", "50.0 %"]
    {
        assert!(text.stdout.contains(part), "{part:?} is not in {text:#?}");
    }
}

#[test]
fn many_ranks_are_compared() {
    let scratch = Scratch::new();
    run_of_four(&scratch);
    let text = scratch.gapless(&["analyze", "run42"]).ok().says("over 4 ranks").says("\n  3  ");
    assert!(text.stdout.contains("All ranks take the same time"), "{text:#?}");
    // A slower rank is named.
    scratch.write_gzip("run42/rank2.json.gz", &gpu_trace(2, 4).replace("\"dur\":1000,", "\"dur\":1500,"));
    scratch.gapless(&["analyze", "run42"]).ok().says("Rank 2 is slowest");
    let report = scratch.gapless(&["analyze", "run42", "--json"]).ok().json();
    assert_eq!(report["ranks"].as_array().unwrap().len(), 4);
    assert_eq!(report["steps"][0]["slowest_rank"], json!(2));
}

#[test]
fn one_rank_one_step_one_section() {
    let scratch = Scratch::new();
    run_of_four(&scratch);
    let report =
        scratch.gapless(&["analyze", "run42", "--json", "--rank", "3", "--step", "12", "--top", "1"]).ok().json();
    let ranks = report["ranks"].as_array().unwrap();
    assert_eq!((ranks.len(), &ranks[0]["rank"]), (1, &json!(3)));
    let steps = ranks[0]["steps"].as_array().unwrap();
    assert_eq!((steps.len(), &steps[0]["name"]), (1, &json!("ProfilerStep#12")));
    assert_eq!(ranks[0]["kernels"].as_array().unwrap().len(), 1);

    let text = scratch.gapless(&["analyze", "run42", "--section", "copies"]).ok().says("HtoD");
    assert!(!text.stdout.contains("sgemm"), "{text:#?}");
    scratch.gapless(&["analyze", "run42", "--section", "graphs"]).ok().says("none in this trace");
    scratch.gapless(&["analyze", "run42", "--rank", "9"]).refused("no rank 9");
    let ran = scratch.gapless(&["analyze", "run42", "--step", "99"]).refused("no step 99");
    assert!(ran.stderr.contains("11, 12"), "{ran:#?}");
}

#[test]
fn a_trace_without_device_work_says_so() {
    let scratch = Scratch::new();
    scratch.write("t.json", cpu_trace());
    scratch.gapless(&["analyze", "t.json"]).ok().says("No device work").says("aten::add").says("150 µs");
    let report = scratch.gapless(&["analyze", "--json", "t.json"]).ok().json();
    assert_eq!(report["ranks"][0]["device_events"], json!(0));
    assert_eq!(report["ranks"][0]["span_ns"], json!(0));
}

#[test]
fn a_pattern_file_names_more_communication() {
    let scratch = Scratch::new();
    scratch.write("t.json", gpu_trace(0, 1));
    scratch.write("ours.toml", "patterns = ['^SGEMM_\\d+']\n");
    let args = ["analyze", "--json", "t.json", "--communication-patterns", "ours.toml"];
    let report = scratch.gapless(&args).ok().json();
    assert_eq!(report["ranks"][0]["compute_union_ns"], json!(0));
    assert_eq!(report["ranks"][0]["comm_union_ns"], json!(1_200_000));

    for (content, reason) in [
        ("patterns = [\"(\"]", "not a regular expression"),
        ("patterns = 5", "bad.toml"),
        ("pattern = [\"a\"]", "bad.toml"),
        ("???", "bad.toml"),
    ] {
        scratch.write("bad.toml", content);
        scratch.gapless(&["analyze", "t.json", "--communication-patterns", "bad.toml"]).refused(reason);
    }
    scratch.gapless(&["analyze", "t.json", "--communication-patterns", "missing.toml"]).refused("missing.toml");
}

/// The schema page names every field that any JSON output has.
#[test]
fn every_field_is_documented() {
    let documented = include_str!("../../../docs/json-schema.md");
    let scratch = Scratch::new();
    run_of_four(&scratch);
    let mut undocumented = Vec::new();
    for args in [
        &["analyze", "--json", "run42"][..],
        &["analyze", "--json", "run42", "--convention", "tracelens"],
        &["info", "--json", "run42"],
        &["convert", "--json", "run42", "-o", "out.pftrace"],
    ] {
        collect_undocumented(&scratch.gapless(args).ok().json(), documented, &mut undocumented);
    }
    undocumented.sort();
    undocumented.dedup();
    assert!(undocumented.is_empty(), "docs/json-schema.md does not name {undocumented:?}");
}

fn collect_undocumented(value: &Value, documented: &str, undocumented: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if !documented.contains(&format!("`{name}`")) {
                    undocumented.push(name.clone());
                }
                // These hold names of the file's own.
                if name != "header" && name != "events_by_kind" {
                    collect_undocumented(value, documented, undocumented);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_undocumented(value, documented, undocumented)),
        _ => {}
    }
}

#[test]
fn a_rank_that_does_not_communicate_sets_no_pace() {
    let scratch = Scratch::new();
    let silent = gpu_trace(0, 3).replace("ncclDevKernel_AllReduce_Sum_f32_RING_LL", "sgemm_128x128");
    scratch.write("run/rank0.json", silent);
    scratch.write("run/rank1.json", gpu_trace(1, 3));
    scratch.write("run/rank2.json", gpu_trace(2, 3));
    scratch.gapless(&["analyze", "run"]).ok().says("All ranks take the same time within 1 %.").says("all: 1.00 ms");
}

#[test]
fn of_two_ranks_the_other_one_waits() {
    let scratch = Scratch::new();
    // Rank 1 communicates under compute only: 300 to 500 µs of each step.
    let late = [300, 1_300].into_iter().fold(gpu_trace(1, 2), |text, at| {
        text.replace(&format!(r#""ts":{at},"dur":400"#), &format!(r#""ts":{at},"dur":200"#))
    });
    scratch.write("run/rank0.json", gpu_trace(0, 2));
    scratch.write("run/rank1.json", late);
    let text = scratch.gapless(&["analyze", "run"]).ok().stdout.replace('\n', " ");
    let wanted = "Rank 1 sets the pace: it spends 0.0 % of a step in exposed communication, rank 0 20.0 %";
    assert!(text.contains(wanted), "{text}");
    assert!(text.contains("The tables below are of rank 0;"), "{text}");
}

#[test]
fn a_recording_without_steps_is_not_compared_with_steps() {
    let scratch = Scratch::new();
    scratch.write("run/rank0.json", gpu_trace(0, 2));
    let unmarked = gpu_trace(1, 2).replace("ProfilerStep#11", "warm up").replace("ProfilerStep#12", "train");
    scratch.write("run/rank1.json", unmarked);
    let text = scratch.gapless(&["analyze", "run"]).ok();
    assert!(!text.stdout.contains("slowest:"), "{text:#?}");
    assert!(!text.stdout.contains("sets the pace"), "{text:#?}");
}

#[test]
fn one_step_says_whose_idle_gaps_are_listed() {
    let scratch = Scratch::new();
    scratch.write("t.json", gpu_trace(0, 1));
    let one = scratch.gapless(&["analyze", "t.json", "--step", "12"]).ok().says("Longest idle gaps");
    assert!(!one.stdout.contains("all steps"), "{one:#?}");
    let all = scratch.gapless(&["analyze", "t.json"]).ok().says("by cause (all steps)");
    assert_ne!(one.stdout, all.stdout);
}

#[test]
fn absurd_times_do_not_overflow() {
    let scratch = Scratch::new();
    // The reader takes times up to 2^61 ns: five such steps are more than 64 bits hold.
    for rank in 0..6 {
        let at = (i64::from(rank % 2) * 2 - 1) * 2_000_000_000_000_000;
        let time = format!(r#""pid":0,"tid":7,"ts":{at},"dur":2200000000000000"#);
        let text = format!(
            r#"{{"distributedInfo":{{"backend":"nccl","rank":{rank},"world_size":6}},"traceEvents":[
            {{"ph":"X","cat":"user_annotation","name":"ProfilerStep#1",{time}}},
            {{"ph":"X","cat":"kernel","name":"gemm",{time},"args":{{"device":0,"stream":7}}}},
            {{"ph":"X","cat":"kernel","name":"ncclDevKernel_AllReduce_Sum_f32_RING_LL",{time},"args":{{"device":0,"stream":7}}}}
            ]}}"#
        );
        scratch.write(&format!("run/rank{rank}.json"), text);
    }
    scratch.gapless(&["analyze", "run"]).ok().says("100 % compute");
    scratch.gapless(&["info", "run"]).ok();
}

#[test]
fn bytes_that_are_known_in_part_are_a_lower_bound() {
    let scratch = Scratch::new();
    // Of two copies only one has its bytes, 1 MB in 50 µs.
    scratch.write("t.json", gpu_trace(0, 1).replacen(r#","bytes":1000000"#, "", 1));
    scratch.gapless(&["analyze", "t.json", "--section", "copies"]).ok().says("≥1.00 MB  20.0 GB/s");
    scratch.write("all.json", gpu_trace(0, 1));
    scratch.gapless(&["analyze", "all.json", "--section", "copies"]).ok().says(" 2.00 MB  20.0 GB/s");
}

#[test]
fn calls_that_launch_several_kernels_are_not_called_graphs() {
    let scratch = Scratch::new();
    // Both kernels of each step share one correlation id, so one call launches both.
    let shared = gpu_trace(0, 1).replace(r#""correlation":2}"#, r#""correlation":1}"#);
    scratch.write("t.json", shared.clone());
    let ask = ["analyze", "t.json", "--section", "graphs"];
    scratch.gapless(&ask).ok().says("Graphs and other calls that launch several pieces of work");
    scratch.write("t.json", shared.replace("cudaLaunchKernel", "cudaGraphLaunch"));
    scratch.gapless(&ask).ok().says("CUDA and HIP graphs");
}
#[test]
fn the_idle_gaps_of_a_step_are_its_own() {
    let scratch = Scratch::new();
    scratch.write("t.json", gpu_trace(0, 1));
    // Device work of each step: 100 to 700 and 800 to 850 µs. The gap between the steps is in both.
    for (step, expected) in
        [("11", [(850, 250), (0, 100), (700, 100)]), ("12", [(850, 250), (1_850, 150), (1_700, 100)])]
    {
        let report = scratch.gapless(&["analyze", "t.json", "--json", "--step", step]).ok().json();
        let gaps = report["longest_idle"].as_array().unwrap().iter().map(|gap| {
            let found = fields(gap, &["since_start_ns", "duration_ns"]);
            (found[0] / 1_000, found[1] / 1_000)
        });
        assert_eq!(gaps.collect::<Vec<_>>(), expected, "step {step}");
    }
}
