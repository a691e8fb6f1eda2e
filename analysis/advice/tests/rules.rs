//! Rules of the user: what they find, and what mistakes in them say.
#![allow(clippy::unwrap_used)]

mod machine;

use gapless_advice::{Rules, Scene, Study, advise_with};
use machine::{Op, Program, all_reduce, op, run, trace};

const MS: i64 = 1_000_000;

/// Four steps of products and a softmax of 1 ms each, with a reduction between two ranks.
fn program() -> Program {
    let rank = || {
        let mut ops = Vec::new();
        for step in 0..4 {
            ops.push(Op::StepBegin(step));
            for _ in 0..4 {
                ops.push(op("aten::mm", 10_000, 7, "ampere_bf16_s16816gemm_bf16_128x64", MS / 2));
            }
            ops.push(op("aten::_softmax", 10_000, 7, "softmax_warp_forward", MS));
            ops.push(all_reduce(7, step, 1 << 20, MS / 4));
            ops.push(Op::SyncDevice);
            ops.push(Op::StepEnd(step));
        }
        ops
    };
    Program::of(vec![rank(), rank()])
}

/// Titles, gains in ms and detectors of the findings of a file's rules.
fn find(rules: &str) -> Vec<(String, f64, String)> {
    let rules = Rules::parse(rules).unwrap();
    let recording = trace(&run(&program()));
    let study = Study::new(&recording);
    let scene = Scene::new(&study).with_thresholds(rules.thresholds().clone());
    let own: Vec<&str> = rules.rules().iter().map(|rule| rule.id()).collect();
    let advice = advise_with(&scene, &rules);
    advice
        .findings
        .iter()
        .filter(|advised| own.contains(&advised.finding.detector.as_str()))
        .map(|advised| {
            let gain = advised.gain_ns() / 1e6;
            assert!(!advised.finding.evidence.is_empty());
            (advised.finding.title.clone(), gain, advised.finding.paragraph.clone())
        })
        .collect()
}

#[test]
fn a_rule_finds_and_its_edits_are_replayed() {
    let rule = |share: &str| {
        format!(
            "[[rule]]\nid = 'slow-softmax'\ntable = 'kernels'\nwhere = ['name ~ softmax', 'mean >= 50 us']\n\
             share = {share}\ntitle = 'Softmax takes {{share}}'\ntext = '{{rows}} rows, {{time}} in {{name}}, mean {{mean}}'\n\
             edits = ['scale(kernel~softmax)=0.5x']\n"
        )
    };
    let found = find(&rule("'3 %'"));
    assert_eq!(found.len(), 1);
    // 1 ms of a step of about 3.3 ms, on each of two ranks.
    assert!(found[0].0.starts_with("Softmax takes 3") || found[0].0.starts_with("Softmax takes 2"), "{found:?}");
    assert_eq!(found[0].2, "2 rows, 1.00 ms in softmax_warp_forward, mean 1.00 ms");
    assert!((found[0].1 - 0.5).abs() < 0.01, "{found:?}");
    // Half of the step would be too much to ask.
    assert!(find(&rule("0.5")).is_empty());
}

#[test]
fn every_table_can_be_asked() {
    let conditions = [
        ("operators", "device_self > 1 ms", true),
        ("operators", "calls > 1000", false),
        ("kernels", "class = compute", true),
        ("collectives", "bytes >= 1 MiB", true),
        ("collectives", "bytes < 64 KiB", false),
        ("copies", "direction = host to device", false),
        ("idle", "duration > 1 us", true),
        ("steps", "exposed_comm > 100 us", true),
        ("steps", "number = 99", false),
        ("nodes", "operator = aten::_softmax", true),
        ("nodes", "kind = gc", false),
    ];
    for (table, condition, finds) in conditions {
        let file =
            format!("[[rule]]\nid = 'own'\ntable = '{table}'\nwhere = ['{condition}']\ntitle = '{{rows}} rows'\n");
        assert_eq!(find(&file).len(), usize::from(finds), "{table}: {condition}");
    }
}

#[test]
fn thresholds_of_detectors_are_set() {
    let rules = Rules::parse("[detector.input-stall]\nshare = 0.1\n[detector.low-occupancy]\nshare = '5 %'\n").unwrap();
    let value = |detector: &str, name: &str| rules.thresholds().get(&(detector.to_owned(), name.to_owned())).copied();
    assert_eq!((value("input-stall", "share"), value("low-occupancy", "share")), (Some(0.1), Some(0.05)));
}

#[test]
fn mistakes_say_what_to_write() {
    let says = |file: &str, words: &str| {
        let error = Rules::parse(file).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    let rule = |table: &str, condition: &str, rest: &str| {
        format!("[[rule]]\nid = 'own'\ntable = '{table}'\nwhere = ['{condition}']\n{rest}\n")
    };
    let title = "title = 'a'";
    says("[detector.input-stal]\nshare = 1\n", "input-stall");
    says("[detector.input-stall]\nshares = 1\n", "share");
    says("[detector.input-stall]\nshare = 'much'\n", "number");
    says(&rule("kernel", "name = a", title), "kernels");
    says(&rule("kernels", "size > 3", title), "median");
    says(&rule("kernels", "mean > 50", title), "ns, us, ms or s");
    says(&rule("kernels", "mean ~ 50", title), "<=");
    says(&rule("kernels", "name > a", title), "!~");
    says(&rule("kernels", "name ~ (", title), "regular expression");
    says(&rule("kernels", "mean", title), "COLUMN SIGN VALUE");
    says(&rule("kernels", "name = a", "title = '{size}'"), "median");
    says(&rule("kernels", "name = a", "title = '{size'"), "brace");
    says(&rule("kernels", "name = a", "title = 'a'\nedits = ['scal=2x']"), "scale");
    says(&rule("kernels", "name = a", "title = 'a'\nshare = 3"), "from 0 to 1");
    says(&rule("kernels", "name = a", "titel = 'a'"), "titel");
    says(&rule("kernels", "name = a", title).replace("own", "input-stall"), "of your own");
    says(&rule("kernels", "name = a", title).replace("own", "My rule"), "lower-case");
}
