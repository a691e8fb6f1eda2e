//! Operators against their device: figures by hand, options, refusals.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use common::{Scratch, cpu_trace};
use serde_json::{Value, json};

/// Three operators on an H100, each with one kernel: (name, shapes, types, µs on the device).
fn trace() -> String {
    let operators = [
        ("aten::mm", "[[4096,4096],[4096,4096]]", r#"["c10::BFloat16","c10::BFloat16"]"#, 200),
        ("aten::mm", "[[4096,4096],[4096,8192]]", r#"["c10::BFloat16","c10::BFloat16"]"#, 100),
        ("my::own", "[[16]]", r#"["float"]"#, 50),
    ];
    let mut events = Vec::new();
    for (index, (name, dims, types, dur)) in operators.into_iter().enumerate() {
        let (at, id) = (index * 1000, index + 1);
        events.push(format!(
            r#"{{"ph":"X","cat":"cpu_op","name":"{name}","pid":9,"tid":9,"ts":{at},"dur":20,"args":{{"Input Dims":{dims},"Input type":{types}}}}}"#
        ));
        let launch = at + 5;
        events.push(format!(
            r#"{{"ph":"X","cat":"cuda_runtime","name":"cudaLaunchKernel","pid":9,"tid":9,"ts":{launch},"dur":5,"args":{{"correlation":{id}}}}}"#
        ));
        let start = at + 30;
        events.push(format!(
            r#"{{"ph":"X","cat":"kernel","name":"kernel{id}","pid":0,"tid":7,"ts":{start},"dur":{dur},"args":{{"correlation":{id},"device":0,"stream":7}}}}"#
        ));
    }
    let device = r#"{"id":0,"name":"NVIDIA H100 80GB HBM3","numSms":132,"totalGlobalMem":85018279936}"#;
    format!("{{\"deviceProperties\":[{device}],\"traceEvents\":[\n{}\n]}}", events.join(",\n"))
}

fn near(value: &Value, expected: f64) {
    let value = value.as_f64().unwrap();
    assert!((value - expected).abs() <= 1e-9 * expected.abs(), "{value}, expected {expected}");
}

#[test]
fn figures_are_those_by_hand() {
    let scratch = Scratch::new();
    scratch.write("t.json", trace());
    let report = scratch.gapless(&["roofline", "--json", "t.json"]).ok().json();
    assert_eq!((&report["schema_version"], &report["command"]), (&json!(1), &json!("roofline")));
    let rank = &report["ranks"][0];
    assert_eq!(rank["device"]["gpu"]["name"], "H100 SXM5");
    assert_eq!(rank["device_ns"], 350_000);
    near(&rank["unknown_share"], 50.0 / 350.0);
    let [fine, impossible, unknown] = rank["operators"].as_array().unwrap().as_slice() else { panic!("three") };
    let flops = 2.0 * 4096_f64.powi(3);
    near(&fine["cost"]["flops"], flops);
    near(&fine["cost"]["bytes"], 3.0 * 4096.0 * 4096.0 * 2.0);
    let roof = flops / 989.4e12 * 1e9;
    near(&fine["roof_ns"], roof);
    near(&fine["attainable_ns"], roof / 0.75);
    near(&fine["headroom_ns"], 200_000.0 - roof / 0.75);
    near(&fine["efficiency"], roof / 200_000.0);
    near(&fine["tflops_per_s"], flops / 200e-6 / 1e12);
    assert_eq!((&fine["bound"], &fine["is_impossible"]), (&json!("compute"), &json!(false)));
    near(&impossible["efficiency"], 2.0 * roof / 100_000.0);
    assert_eq!((&impossible["is_impossible"], &impossible["headroom_ns"]), (&json!(true), &json!(0.0)));
    assert_eq!((&unknown["cost"], &unknown["unknown"]), (&Value::Null, &json!("no cost model knows this operator")));
    // Products of 3 × flops from 30 to 2,080 µs.
    near(&rank["utilisation"]["mfu"], 3.0 * flops / 989.4e12 / 2_050e-6);
    let text = scratch.gapless(&["roofline", "t.json"]).ok();
    for part in
        ["H100 SXM5", "MFU", "Operators by headroom", "compute", "took less time than the peaks allow", "my::own"]
    {
        assert!(text.stdout.contains(part), "{part:?} is not in {}", text.stdout);
    }
}

#[test]
fn other_devices_and_files_of_the_user() {
    let scratch = Scratch::new();
    scratch.write("t.json", trace());
    scratch.write("mine.toml", "[[gpu]]\nname = \"H100 SXM5\"\nbf16_tflops = 500\n");
    let efficiency = |args: &[&str]| {
        let report = scratch.gapless(&[&["roofline", "--json", "t.json"], args].concat()).ok().json();
        report["ranks"][0]["operators"][0]["efficiency"].as_f64().unwrap()
    };
    let own = efficiency(&[]);
    assert!((efficiency(&["--gpu", "a100-sxm4-80gb"]) / own - 989.4 / 312.0).abs() < 1e-9);
    assert!((efficiency(&["--hardware", "mine.toml"]) / own - 989.4 / 500.0).abs() < 1e-9);
    scratch.gapless(&["roofline", "t.json", "--gpu", "Q9000"]).refused("no device \"Q9000\"");
    scratch.write("wrong.toml", "[[gpu]]\nname = \"x\"\nspeed = 3\n");
    scratch.gapless(&["roofline", "t.json", "--hardware", "wrong.toml"]).refused("line 3: unknown field `speed`");
    scratch.gapless(&["roofline", "t.json", "--hardware", "none.toml"]).refused("none.toml");
    scratch.gapless(&["roofline", "t.json", "--rank", "7"]).refused("there is no rank 7");
}

#[test]
fn a_trace_without_device_work_says_so() {
    let scratch = Scratch::new();
    scratch.write("t.json", cpu_trace());
    scratch.gapless(&["roofline", "t.json"]).ok().says("no device work");
    let help = scratch.gapless(&["roofline", "-h"]).ok();
    assert!(help.stdout.lines().count() <= 30, "short help is short: {}", help.stdout);
}
