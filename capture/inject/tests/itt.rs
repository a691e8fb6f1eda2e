//! ITT with its own sources: what a C program calls is what is recorded.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{assert_lines, compile, expect_success, fetched, read, run_recorded};
use gapless_ring::layout::SOURCE_ITT;

const MAIN: &str = "\
push aten::mm @PyTorch Operator
pop @PyTorch
push aten::add @PyTorch Operator
push AddBackward0 @PyTorch AutogradNode
pop @PyTorch
pop @PyTorch
push Optimizer.step#AdamW.step @PyTorch Optimizer
pop @PyTorch
push enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__ @PyTorch DataLoading
pop @PyTorch
push c10d::allreduce_ @PyTorch Communication
pop @PyTorch
push my own range @PyTorch
pop @PyTorch
push aten::add @mine
pop @mine
push convolution @dnnl::primitive::execute Operator
pop @dnnl::primitive::execute
push aten::add @mine
pop @mine
start first #1 @mine
start second #2 @mine
end #1 @mine
end #2 @mine
start region #1 @mine
end #1 @mine
start frame #3 @mine
end #3 @mine
start frame #2 @mine
end #2 @mine
mark frame @mine
  begin_ticks = 100u
  end_ticks = 200u
mark a marker @mine
mark old mark
mark old mark
  parameter = \"with a parameter\"
mark old mark
start an event #4
start cut #5
end #4
end #5
";

const METADATA: &str = "\
push with facts @mine
  key = 18446744073709551615u @mine (open range)
  key = -1i @mine (open range)
  key = \"[-1, 2, 3]\" @mine (open range)
  key = 7u @mine (open range)
  key = -7i @mine (open range)
  key = 9u @mine (open range)
  key = -9i @mine (open range)
  key = 0.5f @mine (open range)
  key = 1.5f @mine (open range)
  key = \"[1.5, -2]\" @mine (open range)
  key = \"text\" @mine (open range)
  key = \"text\" @mine (open range)
  key = 7u @mine (open range)
  key = \"scoped\" @mine (open range)
pop @mine
push with an id #6 @mine
mark metadata #6 @mine
  key = -7i @mine
pop @mine
";

const COUNTERS: &str = "\
counter plain = 1 @counters
counter plain = 5 @counters
counter plain = 4 @counters
counter plain = 2 @counters
counter plain = 10 @counters
counter plain = 11 @counters
counter s64 = -1 @counters
counter u32 = 2 @counters
counter s32 = -3 @counters
counter u16 = 4 @counters
counter s16 = -5 @counters
counter float = 6.5 @counters
counter double = -7.25 @counters
counter third = -7.25 @mine
counter by name = 1 @mine
counter by name = 4 @mine
counter by name = 3 @mine
counter by name = -2 @mine
";

const END: &str = "\
threadname main again
mark __itt_pause
mark __itt_resume
push aten::add @PyTorch Operator
pop @PyTorch
push aten::mul @PyTorch Operator
pop @PyTorch
";

const CHILD: &str = "\
push only in the child @PyTorch
push aten::mul @PyTorch Operator
pop @PyTorch
pop @PyTorch
";

#[test]
fn every_call_of_a_c_program_with_two_copies_and_a_fork_is_recorded() {
    let Some(sources) = fetched("itt") else { return };
    let folder = tempfile::tempdir().unwrap();
    let include = format!("-I{}", sources.join("include").display());
    let inner = format!("-I{}", sources.join("src/ittnotify").display());
    let code = sources.join("src/ittnotify/ittnotify_static.c").display().to_string();
    // Hidden, so that the library's copy is one of its own.
    let common = [include.as_str(), &inner, &code, "-ldl", "-w", "-fvisibility=hidden"];
    let library = [&common[..], &["-shared", "-fPIC"]].concat();
    let Some(library) = compile(folder.path(), "itt_second.c", "libsecond.so", &library) else { return };
    let (link, path) = (library.display().to_string(), format!("-Wl,-rpath,{}", folder.path().display()));
    let program = [&common[..], &["-DSECOND", &link, &path]].concat();
    let Some(program) = compile(folder.path(), "itt_all.c", "itt_all", &program) else { return };
    let rings = folder.path().join("rings");
    std::fs::create_dir(&rings).unwrap();
    let output = run_recorded(&rings, &program, &[]);
    expect_success(&output);
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "the image says nothing");

    let segments = read(&rings);
    let [parent, child] = &segments[..] else { panic!("two processes, not {}", segments.len()) };
    assert_eq!((parent.lost, parent.finished, parent.sources), (0, true, SOURCE_ITT));
    let [main, worker] = &parent.threads[..] else { panic!("two threads, not {}", parent.threads.len()) };
    assert_lines(main, &[MAIN, METADATA, COUNTERS, END].concat());
    assert_lines(worker, "threadname a worker\npush gloo:all_reduce @PyTorch Communication\npop @PyTorch");
    assert_eq!((child.lost, child.parent), (0, parent.pid));
    assert_lines(&child.threads[0], CHILD);

    // Without a recorder: the same program, nothing written.
    expect_success(&run_recorded(&folder.path().join("missing"), &program, &[]));
}
