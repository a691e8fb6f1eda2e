//! NVTX with its real headers: what C and Python programs call is what is recorded.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{assert_lines, compile, expect_success, fetched, read, run_recorded};
use gapless_ring::layout::SOURCE_NVTX;

const CORE: &str = "\
push outer
push wide \u{e4}\u{4e2d}\u{1f600}
pop
pop
pop
mark mark
mark wide mark
start first #1
start second #2
end #1
end #2
push \"\"
pop
push
pop
mark colour
  color = #ff336699
mark payload
  payload = 18446744073709551615u
mark payload
  payload = -5i
mark payload
  payload = 2.5f
mark payload
  payload = 4000000000u
mark payload
  payload = -7i
mark payload
  payload = 0.5f
mark categories [3]
mark categories [loading]
mark categories [saving]
mark categories [5]
push all at once [loading]
  color = #80ff0000
  payload = 42i
pop
start all at once #3 [loading]
  color = #80ff0000
  payload = 42i
end #3
mark wide attributes
mark
threadname main thread (of a thread id)
threadname another (of a thread id)
";

const SMALL: &str = "\
mark
mark [loading]
mark [loading]
mark [loading]
  color = #ff00ff00
mark [loading]
  color = #ff00ff00
mark [loading]
  color = #ff00ff00
  payload = 8i
mark [loading]
  color = #ff00ff00
  payload = 8i
mark
";

const DOMAINS: &str = "\
mark registered @one [first kind]
push registered @one [first kind]
push registered \u{fc} @two [second kind]
push registered \u{fc} @two [second kind]
pop @one
pop @two
pop @two
pop @two
start registered \u{fc} #4 @two [second kind]
end #4 @two
push registered
pop
threadname thread by resource (of a thread id)
mark once more @two
";

const COUNTERS: &str = "\
counter whole = -3 @counters
counter single = 1.25 @counters
counter single = 0.75 @counters
";

const PYTORCH: &str = "\
push aten::add Operator
  Sequence number = 12i
  op_id = 17u
push AddBackward0 AutogradNode
  op_id = 18u
  Input Dims = \"[[2, 3], []]\"
  input_op_ids = \"[(17,0)]\"
push aten::add Operator
  Sequence number = 13i
  op_id = 19u
pop
pop
pop
push epoch 3, step 7
pop
";

const PAYLOADS: &str = "\
push ncclAllReduce @NCCL
  nvtx-payload:16777221 = 8877665544332211001000000000000002000000 @NCCL
pop @NCCL
mark event 1 @NCCL
  text = \"far away\"
  registered = \"by handle\"
  nvtx-payload:4294967296 = 01000000000000000200000003000000000000006576656e74203100 @NCCL
push event 1 @NCCL
  text = \"far away\"
  registered = \"by handle\"
  nvtx-payload:4294967296 = 01000000000000000200000003000000000000006576656e74203100 @NCCL
pop @NCCL
  nvtx-payload:16777221 = 8877665544332211001000000000000002000000 @NCCL
start event 1 #5 @NCCL
  text = \"far away\"
  registered = \"by handle\"
  nvtx-payload:4294967296 = 01000000000000000200000003000000000000006576656e74203100 @NCCL
end #5 @NCCL
  nvtx-payload:16777221 = 8877665544332211001000000000000002000000 @NCCL
mark plain @NCCL
  nvtx-payload:15 = 010000000200000003000000 @NCCL
  nvtx-payload:75 = \"to its end\" @NCCL
mark plain @NCCL
";

const INFO: [(&str, &str); 3] = [
    (
        "nvtx-enum:16777217",
        r#"{"id":16777217,"name":"operation","size":4,"values":[{"name":"Sum","value":0,"flag":false},{"name":"Max \"quoted\"","value":2,"flag":true}]}"#,
    ),
    (
        "nvtx-schema:16777221",
        r#"{"id":16777221,"name":"ncclAllReduce","type":1,"flags":0,"size":24,"entries":[{"name":"NCCL communicator ID","type":18,"flags":0,"detail":0,"offset":0},{"name":"Message size [bytes]","type":22,"flags":0,"detail":0,"offset":8,"description":"of one rank"},{"name":"Reduction operation","type":16777217,"flags":0,"detail":0,"offset":16}]}"#,
    ),
    (
        "nvtx-schema:4294967296",
        r#"{"id":4294967296,"name":"","type":1,"flags":0,"size":48,"entries":[{"name":"communicator","type":18,"flags":0,"detail":0,"offset":0},{"name":"rank","type":16,"flags":0,"detail":0,"offset":8},{"name":"bytes","type":22,"flags":0,"detail":0,"offset":16},{"name":"text","type":75,"flags":256,"detail":0,"offset":24},{"name":"registered","type":80,"flags":0,"detail":0,"offset":32},{"name":"name","type":75,"flags":1024,"detail":8,"offset":40}]}"#,
    ),
];

/// Payloads without what differs from run to run: padding and addresses.
fn without_addresses(line: &str) -> String {
    let keep = |hex: &str, ranges: &[(usize, usize)]| -> String {
        ranges.iter().map(|(from, to)| &hex[from * 2..to * 2]).collect()
    };
    let Some((key, hex)) = line.trim_end_matches(" @NCCL").split_once(" = ") else { return line.to_string() };
    match key.trim() {
        "nvtx-payload:16777221" => format!("{key} = {} @NCCL", keep(hex, &[(0, 20)])),
        "nvtx-payload:4294967296" => format!("{key} = {} @NCCL", keep(hex, &[(0, 12), (16, 24), (40, 48)])),
        _ => line.to_string(),
    }
}

#[test]
fn every_call_of_a_c_program_is_recorded() {
    let Some(headers) = fetched("nvtx") else { return };
    let folder = tempfile::tempdir().unwrap();
    let include = format!("-I{}", headers.display());
    let Some(program) = compile(folder.path(), "nvtx_all.c", "nvtx_all", &[&include, "-ldl"]) else { return };
    let rings = folder.path().join("rings");
    std::fs::create_dir(&rings).unwrap();
    let output = run_recorded(&rings, &program, &[]);
    expect_success(&output);
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "the image says nothing");

    let segments = read(&rings);
    let [segment] = &segments[..] else { panic!("one process, not {}", segments.len()) };
    assert_eq!((segment.lost, segment.finished, segment.sources), (0, true, SOURCE_NVTX));
    assert_eq!(segment.threads.len(), 1);
    let found: Vec<String> = segment.threads[0].iter().map(|line| without_addresses(line)).collect();
    assert_lines(&found, &[CORE, SMALL, DOMAINS, PAYLOADS, COUNTERS, PYTORCH].concat());
    let info: Vec<(&str, &str, &str)> =
        segment.info.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str())).collect();
    assert_eq!(info, INFO.map(|(key, value)| ("NCCL", key, value)));
}

#[test]
fn without_a_recorder_the_program_is_as_it_was() {
    let Some(headers) = fetched("nvtx") else { return };
    let folder = tempfile::tempdir().unwrap();
    let include = format!("-I{}", headers.display());
    let Some(program) = compile(folder.path(), "nvtx_copies.c", "copies", &[&include, "-ldl"]) else { return };
    let run = |rings: &std::path::Path| run_recorded(rings, &program, &[&common::image().display().to_string()]);
    let missing = folder.path().join("missing");
    expect_success(&run(&missing));
    assert!(!missing.exists());
}

#[test]
fn two_copies_of_nvtx_and_a_closed_image_and_a_fork() {
    let Some(headers) = fetched("nvtx") else { return };
    let folder = tempfile::tempdir().unwrap();
    let include = format!("-I{}", headers.display());
    let library = compile(folder.path(), "nvtx_second.c", "libsecond.so", &[&include, "-ldl", "-shared", "-fPIC"]);
    let Some(library) = library else { return };
    let link = library.display().to_string();
    let path = format!("-Wl,-rpath,{}", folder.path().display());
    let args = [include.as_str(), "-DSECOND", &link, &path, "-ldl"];
    let Some(program) = compile(folder.path(), "nvtx_copies.c", "copies", &args) else { return };
    let rings = folder.path().join("rings");
    std::fs::create_dir(&rings).unwrap();
    expect_success(&run_recorded(&rings, &program, &[&common::image().display().to_string()]));

    let segments = read(&rings);
    let [parent, child] = &segments[..] else { panic!("two processes, not {}", segments.len()) };
    assert_eq!(child.parent, parent.pid);
    assert_eq!((parent.lost, child.lost), (0, 0));
    // Handles of the parent are good in the child, whose strings have other numbers.
    assert_lines(
        &parent.threads[0],
        "push first copy
         push second copy
         pop
         push registered @domain [kind]
         mark after the image was closed
         pop @domain
         pop"
        .replace("\n         ", "\n")
        .as_str(),
    );
    assert_lines(
        &child.threads[0],
        "mark first of the child
         push registered @domain [kind]
           nvtx-payload:16777300 = 05000000 @domain
         pop @domain
         pop @domain
         pop
         push first copy
         pop"
        .replace("\n         ", "\n")
        .as_str(),
    );
    let keys: Vec<&str> = child.info.iter().map(|(_, key, _)| key.as_str()).collect();
    assert_eq!(keys, ["nvtx-schema:16777300"], "the schema is told to the child's segment too");
}

#[test]
fn pythons_package_is_recorded() {
    let Some(python) = fetched("python") else { return };
    let folder = tempfile::tempdir().unwrap();
    let rings = folder.path().join("rings");
    std::fs::create_dir(&rings).unwrap();
    let program = "
import nvtx, threading
with nvtx.annotate('outer', color='green', domain='training', category='epoch', payload=3):
    nvtx.mark('inside', domain='training')
@nvtx.annotate()
def step(): pass
step()
range = nvtx.start_range('by id')
def other():
    nvtx.end_range(range)
    nvtx.push_range('thread')
    nvtx.pop_range()
thread = threading.Thread(target=other); thread.start(); thread.join()
";
    let output = run_recorded(&rings, &python, &["-c", program]);
    expect_success(&output);
    let segments = read(&rings);
    let [segment] = &segments[..] else { panic!("one process, not {}", segments.len()) };
    assert_eq!((segment.lost, segment.finished), (0, true));
    let [main, other] = &segment.threads[..] else { panic!("two threads") };
    let plain = |lines: &[String]| -> Vec<String> {
        lines.iter().filter(|line| !line.starts_with("  color")).cloned().collect()
    };
    // The package gives colours without alpha.
    assert!(main.contains(&"  color = #00008000".to_string()), "{main:#?}");
    assert_lines(
        &plain(main),
        "push outer @training [epoch]\n  payload = 3i\nmark inside @training\npop @training\npush step\npop\nstart by id #1",
    );
    assert_lines(&plain(other), "end #1\npush thread\npop");
}
