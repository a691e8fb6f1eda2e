//! Traces in archives and compressed files: the same trace comes out, whatever lies around it, and what is wrong with
//! the wrapper costs no more than the entry it lies in.
#![allow(clippy::panic, clippy::unwrap_used, clippy::print_stderr)]

use std::process::Command;

use gapless_formats::{Limits, OpenError, OpenOptions};
use gapless_tests::archive::{self, Method, TarPart, ZipPart, gzip, tar, zip, zstd};
use gapless_tests::open::open_bytes;
use gapless_tests::oracle::{Slice, model_slices};
use gapless_tests::synth::{Config, Workload, texts};
use gapless_trace::{Severity, Trace, WarningKind};

const METHODS: [Method; 3] = [Method::Stored, Method::Deflate, Method::Zstd];

/// Texts of a small job of two ranks.
fn ranks() -> Vec<Vec<u8>> {
    texts(&Config { layers: 2, ..Config::new(Workload::DataParallel, 2, 2) }).unwrap().0
}

fn names() -> [&'static str; 2] {
    ["rank0.json", "rank1.json"]
}

fn open(name: &str, bytes: &[u8]) -> Trace {
    open_bytes(name, bytes.to_vec()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn refusal(name: &str, bytes: &[u8], limits: Limits) -> OpenError {
    let options = OpenOptions { limits, ..OpenOptions::default() };
    match gapless_formats::open_bytes(name, bytes.to_vec(), &options) {
        Ok(_) => panic!("{name} opens"),
        Err(error) => error,
    }
}

/// The slices of texts that are opened one by one.
fn slices_of(texts: &[Vec<u8>]) -> Vec<Slice> {
    let mut slices: Vec<Slice> = texts.iter().flat_map(|text| model_slices(&open("rank0.json", text))).collect();
    slices.sort_unstable();
    slices
}

fn sorted(trace: &Trace) -> Vec<Slice> {
    let mut slices = model_slices(trace);
    slices.sort_unstable();
    slices
}

fn lost(trace: &Trace) -> Vec<String> {
    let warnings = trace.warnings().sorted();
    let lost = warnings.iter().filter(|warning| warning.kind.severity() == Severity::Lost);
    lost.map(ToString::to_string).collect()
}

#[test]
fn the_same_trace_comes_out_of_every_wrapper() {
    let text = ranks().remove(0);
    let expected = slices_of(std::slice::from_ref(&text));
    assert!(expected.len() > 100);
    let (one, two) = text.split_at(text.len() / 2);
    let packed = |method| zip(&[ZipPart::new("rank0.json", &text, method)]);
    let described = ZipPart { has_descriptor: true, ..ZipPart::new("rank0.json", &text, Method::Deflate) };
    let wide = ZipPart { is_wide: true, ..ZipPart::new("rank0.json", &text, Method::Deflate) };
    let plain_tar = tar(&[TarPart::new("rank0.json", &text)]);
    let long = format!("{}/rank0.json", "folder".repeat(40));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("gzip", gzip(&text)),
        ("gzip of two members", [gzip(one), gzip(two)].concat()),
        ("gzip of gzip", gzip(&gzip(&text))),
        ("gzip of gzip and zeros behind it", [gzip(&gzip(&text)), vec![0; 700]].concat()),
        ("zstd", zstd(&text)),
        ("zstd of two frames and one to skip", {
            [archive::skippable_frame(b"note"), zstd(one), archive::skippable_frame(b""), zstd(two)].concat()
        }),
        ("zstd of gzip", zstd(&gzip(&text))),
        ("gzip of zstd", gzip(&zstd(&text))),
        ("zip, stored", packed(Method::Stored)),
        ("zip, deflate", packed(Method::Deflate)),
        ("zip, zstd", packed(Method::Zstd)),
        ("zip, sizes behind the contents", zip(&[described])),
        ("zip64", zip(&[wide])),
        ("zip of gzip", zip(&[ZipPart::new("rank0.json.gz", &gzip(&text), Method::Stored)])),
        ("tar", plain_tar.clone()),
        ("tar.gz", gzip(&plain_tar)),
        ("tar.zst", zstd(&plain_tar)),
        ("tar of gzip", tar(&[TarPart::new("rank0.json.gz", &gzip(&text))])),
        ("tar with a long name", tar(&[TarPart::new(&long, &text)])),
        ("tar with a long name of pax", tar(&[archive::pax(&[("path", &long)]), TarPart::new("short", &text)])),
        ("tar in zip", zip(&[ZipPart::new("run.tar", &plain_tar, Method::Deflate)])),
        ("zip in tar.gz", gzip(&tar(&[TarPart::new("run.zip", &packed(Method::Deflate))]))),
    ];
    for (what, bytes) in cases {
        // The name must not matter.
        let trace = open("rank0.bin", &bytes);
        assert!(sorted(&trace) == expected, "{what}: {} of {} slices", sorted(&trace).len(), expected.len());
        assert_eq!(lost(&trace), Vec::<String>::new(), "{what}");
        assert_eq!(trace.warnings().count(WarningKind::EntrySkipped), 0, "{what}");
        // Arguments are read from wherever the text lies now.
        let with_args = (0..trace.events().len() as u32).map(gapless_trace::EventId);
        let found = with_args.filter(|&event| !trace.args(event).unwrap().is_empty()).count();
        assert!(found > 50, "{what}: arguments of {found} events");
    }
}

#[test]
fn an_archive_of_many_ranks_is_one_trace() {
    let texts = ranks();
    let expected = slices_of(&texts);
    let manifest: &[u8] = b"{\"job\": 1}";
    for method in METHODS {
        let mut parts = vec![ZipPart::new("run/manifest.json", manifest, method)];
        parts.extend(names().iter().zip(&texts).map(|(name, text)| ZipPart::new(&format!("run/{name}"), text, method)));
        parts.push(ZipPart { mode: 0o040_755, ..ZipPart::new("run/", b"", Method::Stored) });
        check(&format!("zip {method:?}"), &zip(&parts), &expected);
    }
    let mut parts = vec![TarPart::special("run", b'5'), TarPart::new("run/manifest.json", manifest)];
    parts.extend(names().iter().zip(&texts).map(|(name, text)| TarPart::new(&format!("run/{name}"), text)));
    check("tar", &tar(&parts), &expected);
    check("tar.gz", &gzip(&tar(&parts)), &expected);

    fn check(what: &str, bytes: &[u8], expected: &[Slice]) {
        let trace = open("run.archive", bytes);
        assert_eq!(trace.ranks().len(), 2, "{what}");
        assert!(sorted(&trace) == expected, "{what}");
        assert_eq!(lost(&trace), Vec::<String>::new(), "{what}");
        assert_eq!(trace.warnings().count(WarningKind::EntrySkipped), 1, "{what}: the manifest");
        let paths: Vec<&str> = trace.sources().iter().map(|source| source.path.as_str()).collect();
        assert_eq!(paths, ["run.archive/run/rank0.json", "run.archive/run/rank1.json"], "{what}");
    }
}

#[test]
fn names_in_archives_are_only_labels() {
    let text = ranks().remove(0);
    let names: [&[u8]; 7] = [
        b"../../../../etc/passwd",
        b"/etc/passwd",
        b"a\0b.json",
        b"\xff\xfe\xfd",
        b"C:\\windows\\system32\\x",
        b"\x1b[31mred\nline",
        b"",
    ];
    for name in names {
        for bytes in [
            zip(&[ZipPart { name: name.to_vec(), ..ZipPart::new("", &text, Method::Deflate) }]),
            tar(&[TarPart {
                name: if name.is_empty() { b"x".to_vec() } else { name.to_vec() },
                ..TarPart::new("", &text)
            }]),
        ] {
            // A zero ends a name in a tar archive; a name that begins with one is none.
            let trace = open("run.bin", &bytes);
            let path = &trace.sources()[0].path;
            assert!(path.starts_with("run.bin/") && !path.contains("..") && !path.contains("//"), "{path:?}");
            assert!(!path.chars().any(char::is_control), "{path:?}");
            assert_eq!(lost(&trace), Vec::<String>::new());
        }
    }
    let huge = "x".repeat(60_000);
    let trace = open("run.bin", &zip(&[ZipPart::new(&huge, &text, Method::Deflate)]));
    assert!(trace.sources()[0].path.chars().count() < 300);
}

#[test]
fn what_cannot_be_read_in_an_archive_costs_only_itself() {
    let texts = ranks();
    let good = || ZipPart::new("rank0.json", &texts[0], Method::Deflate);
    let other = || ZipPart::new("rank1.json", &texts[1], Method::Deflate);
    let first = slices_of(&texts[..1]);
    let cases: Vec<(&str, ZipPart, WarningKind)> = vec![
        ("encrypted", ZipPart { flags: 1, ..other() }, WarningKind::EntryUnreadable),
        ("bzip2", ZipPart { told_method: Some(12), ..other() }, WarningKind::EntryUnreadable),
        ("a length of 2^63", ZipPart { told_packed: Some(1 << 63), ..other() }, WarningKind::EntryUnreadable),
        ("a length of 2^64 - 1", ZipPart { told_packed: Some(u64::MAX), ..other() }, WarningKind::EntryUnreadable),
        (
            "no deflate",
            ZipPart { told_method: Some(8), ..ZipPart::new("rank1.json", b"\xff\xff\xff", Method::Stored) },
            WarningKind::EntryUnreadable,
        ),
        (
            "no zstd",
            ZipPart { told_method: Some(93), ..ZipPart::new("rank1.json", b"\xff\xff\xff", Method::Stored) },
            WarningKind::EntryUnreadable,
        ),
        (
            "a link",
            ZipPart { mode: 0o120_777, ..ZipPart::new("link.json", b"/etc/passwd", Method::Stored) },
            WarningKind::EntrySkipped,
        ),
        ("another file", ZipPart::new("readme.md", b"# About", Method::Deflate), WarningKind::EntrySkipped),
        ("an empty file", ZipPart::new("rank1.json", b"", Method::Stored), WarningKind::EntrySkipped),
    ];
    for (what, part, kind) in cases {
        for parts in [vec![good(), part.clone()], vec![part.clone(), good()]] {
            let trace = open("run.zip", &zip(&parts));
            assert!(sorted(&trace) == first, "{what}");
            assert_eq!(trace.warnings().count(kind), 1, "{what}: {:?}", trace.warnings().sorted());
            let is_lost = kind.severity() == Severity::Lost;
            assert_eq!(lost(&trace).len(), usize::from(is_lost), "{what}");
        }
        // Alone, it is one error that says what it is.
        let error = refusal("run.zip", &zip(std::slice::from_ref(&part)), Limits::default());
        assert!(matches!(error, OpenError::Format { .. }), "{what}: {error}");
        assert!(error.to_string().contains("one entry"), "{what}: {error}");
    }
    for kind in [b'1', b'2', b'3', b'4', b'6', b'V'] {
        let parts = [TarPart::special("odd", kind), TarPart::new("rank0.json", &texts[0])];
        let trace = open("run.tar", &tar(&parts));
        assert!(sorted(&trace) == first, "tar entry of kind {}", char::from(kind));
        assert_eq!(trace.warnings().count(WarningKind::EntrySkipped), 1);
    }
    let sparse = [archive::pax(&[("GNU.sparse.major", "1")]), TarPart::new("a", b"x"), TarPart::new("b", &texts[0])];
    let trace = open("run.tar", &tar(&sparse));
    assert_eq!((trace.warnings().count(WarningKind::EntryUnreadable), sorted(&trace) == first), (1, true));
    // Of two entries of one name, the last stays, as when it is unpacked.
    let twice = [TarPart::new("rank0.json", &texts[1]), TarPart::new("rank0.json", &texts[0])];
    let trace = open("run.tar", &tar(&twice));
    assert_eq!((trace.warnings().count(WarningKind::EntrySkipped), sorted(&trace) == first), (1, true));
}

#[test]
fn a_damaged_archive_keeps_what_came_before() {
    let texts = ranks();
    let both = slices_of(&texts);
    let first = slices_of(&texts[..1]);
    let bad_sum = ZipPart { crc_error: 1, ..ZipPart::new("rank1.json", &texts[1], Method::Deflate) };
    let good = ZipPart::new("rank0.json", &texts[0], Method::Deflate);
    for method in METHODS {
        let part = ZipPart { method, ..bad_sum.clone() };
        let trace = open("run.zip", &zip(&[good.clone(), part]));
        assert_eq!((trace.warnings().count(WarningKind::ArchiveDamaged), sorted(&trace) == both), (1, true));
    }
    for has_descriptor in [false, true] {
        let parts: Vec<ZipPart> = names()
            .iter()
            .zip(&texts)
            .map(|(name, text)| ZipPart { has_descriptor, ..ZipPart::new(name, text, Method::Deflate) })
            .collect();
        let (bytes, places) = archive::zip_with_places(&parts);
        let directory = bytes.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
        // The last two bytes say how long a comment is that is not there.
        for cut in (places[1] + 200..directory).step_by(211).chain(directory..bytes.len() - 2) {
            let trace = open("run.zip", &bytes[..cut]);
            let found = sorted(&trace);
            assert!(first.iter().all(|slice| found.binary_search(slice).is_ok()), "cut at {cut}");
            assert!(found.iter().all(|slice| both.binary_search(slice).is_ok()), "cut at {cut}");
            assert!(trace.warnings().count(WarningKind::ArchiveDamaged) > 0, "cut at {cut}");
            // Without its directory it still has all its entries.
            assert!(cut < directory || found == both, "cut at {cut}");
        }
    }
    let archive = tar(&[TarPart::new("rank0.json", &texts[0]), TarPart::new("rank1.json", &texts[1])]);
    let second = 512 + texts[0].len().next_multiple_of(512);
    for cut in (second..archive.len() - 1024).step_by(1_009) {
        let trace = open("rank0.tar", &archive[..cut]);
        let found = sorted(&trace);
        assert!(first.iter().all(|slice| found.binary_search(slice).is_ok()), "cut at {cut}");
        assert_eq!(trace.warnings().count(WarningKind::ArchiveDamaged), 1, "cut at {cut}");
    }
    let mut flipped = archive.clone();
    flipped[10] ^= 1;
    let trace = open("run.tar", &[&tar(&[TarPart::new("a", b"b")])[..1024], &flipped].concat());
    assert_eq!(trace.warnings().count(WarningKind::ArchiveDamaged), 1, "a damaged header");
    assert!(sorted(&trace) == slices_of(&texts[1..]), "a damaged header costs one entry");
    // A cut in the compression around an archive.
    let packed = gzip(&archive);
    let trace = open("run.tgz", &packed[..packed.len() * 9 / 10]);
    assert_eq!(trace.warnings().count(WarningKind::GzipDamaged), 1);
    assert_eq!(trace.warnings().count(WarningKind::ArchiveDamaged), 1);
    assert!(!sorted(&trace).is_empty());
    // Zstd inflates in blocks: one that is not whole is lost.
    let long = [&texts[0][..], &vec![b' '; 1 << 20]].concat();
    let packed = zstd(&long);
    let trace = open("rank0.zst", &packed[..packed.len() - 2]);
    assert_eq!((trace.warnings().count(WarningKind::GzipDamaged), sorted(&trace) == first), (1, true));
    let packed = zstd(&texts[0]);
    let trace = open("rank0.zst", &[&packed[..], b"more"].concat());
    assert_eq!((trace.warnings().count(WarningKind::GzipDamaged), sorted(&trace) == first), (1, true));
}

#[test]
fn limits_name_themselves_and_can_be_raised() {
    let text = ranks().remove(0);
    let check = |what: &str, bytes: &[u8], limits: Limits, flag: &str| {
        let error = refusal("run.bin", bytes, limits);
        let OpenError::Limit { flag: found, .. } = &error else { panic!("{what}: {error}") };
        assert!(found.starts_with(flag), "{what}: {error}");
        assert!(!error.to_string().contains('\n'), "{what}: {error}");
        // What the message says helps.
        let mut raised = limits;
        raised.set(found).unwrap();
        assert_ne!(raised, limits, "{what}");
        raised
    };
    let opens = |bytes: &[u8], limits: Limits| {
        let options = OpenOptions { limits, ..OpenOptions::default() };
        gapless_formats::open_bytes("rank0.bin", bytes.to_vec(), &options).unwrap().events().len()
    };
    let base = Limits::default();
    // Blanks after the text inflate to as much as one likes.
    let mut blown = text.clone();
    blown.resize(80 << 20, b' ');
    for (what, bytes) in [
        ("zip", zip(&[ZipPart::new("a", &blown, Method::Deflate)])),
        ("tar.gz", gzip(&tar(&[TarPart::new("a", &blown)]))),
        ("zstd", zstd(&blown)),
        ("text in gzip, parsed while it is inflated", gzip(&blown)),
    ] {
        let raised = check(what, &bytes, Limits { ratio: 10, ..base }, "ratio=");
        assert_eq!(raised.ratio, 100);
        assert!(opens(&bytes, Limits { ratio: 100_000, ..base }) > 100, "{what}");
    }
    let limits = Limits { inflated_bytes: 64 << 10, ..base };
    let raised = check("inflated", &zip(&[ZipPart::new("a", &blown[..1 << 20], Method::Deflate)]), limits, "inflated=");
    assert_eq!(raised.inflated_bytes, 256 << 10);
    let many: Vec<TarPart> = (0..50).map(|number| TarPart::new(&format!("{number}"), b"x")).collect();
    check("entries", &tar(&many), Limits { archive_entries: 49, ..base }, "entries=490");
    let mut deep = text.clone();
    for _ in 0..6 {
        deep = zip(&[ZipPart::new("a.zip", &deep, Method::Deflate)]);
    }
    let raised = check("depth", &deep, base, "depth=");
    assert!(opens(&deep, raised) > 100);
    let mut gzips = text;
    for _ in 0..12 {
        gzips = gzip(&gzips);
    }
    check("gzip in gzip", &gzips, base, "depth=");
}

#[test]
fn overlapping_entries_are_refused() {
    let part = ZipPart::new("a", &vec![b' '; 4 << 20], Method::Deflate);
    let bytes = archive::overlapping_zip(&part, 1_000);
    assert!(bytes.len() < 100_000);
    let error = refusal("bomb.zip", &bytes, Limits::default());
    assert!(error.to_string().contains("overlap"), "{error}");
}

/// Archives of Python's own modules.
const PYTHON: &str = r#"
import io, sys, tarfile, zipfile
out, text = sys.argv[1], open(sys.argv[2], "rb").read()
name = "x" * 120 + "/" + "y" * 60 + "/rank0.json"
for kind, compression in (("stored", zipfile.ZIP_STORED), ("deflate", zipfile.ZIP_DEFLATED)):
    with zipfile.ZipFile(f"{out}/{kind}.zip", "w", compression) as archive:
        archive.comment = b"PK\x05\x06 a comment"
        archive.writestr(name, text)
class Pipe(io.RawIOBase):
    def __init__(self, inner): self.inner = inner
    def writable(self): return True
    def write(self, data): return self.inner.write(data)
with open(f"{out}/stream.zip", "wb") as file:
    with zipfile.ZipFile(Pipe(file), "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open(name, "w", force_zip64=True) as entry: entry.write(text)
for kind, form in (("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT), ("ustar", tarfile.USTAR_FORMAT)):
    for mode in ("w", "w:gz"):
        with tarfile.open(f"{out}/{kind}.{mode[2:]}.tar", mode, format=form) as archive:
            link = tarfile.TarInfo("link"); link.type = tarfile.SYMTYPE; link.linkname = "/etc/passwd"
            archive.addfile(link)
            info = tarfile.TarInfo(name); info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
"#;

#[test]
fn archives_of_python_open() {
    let folder = tempfile::tempdir().unwrap();
    let text = ranks().remove(0);
    let input = folder.path().join("rank0.json");
    std::fs::write(&input, &text).unwrap();
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let ran = Command::new("python3").args(["-c", PYTHON]).arg(&out).arg(&input).output();
    match ran {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => return eprintln!("skipped: no python3: {error}"),
    }
    let expected = slices_of(std::slice::from_ref(&text));
    let mut count = 0;
    for entry in std::fs::read_dir(&out).unwrap() {
        let path = entry.unwrap().path();
        let trace =
            gapless_formats::open(std::slice::from_ref(&path), &OpenOptions::default(), &gapless_formats::Silent)
                .unwrap();
        assert!(sorted(&trace) == expected, "{}", path.display());
        assert_eq!(lost(&trace), Vec::<String>::new(), "{}", path.display());
        count += 1;
    }
    assert_eq!(count, 9);
    // Of the folder, each archive is a trace.
    let found = gapless_formats::expand(&[out.display().to_string()]).unwrap();
    assert_eq!(found.len(), 9);
    std::fs::write(out.join("photos.zip"), zip(&[ZipPart::new("a.png", b"\x89PNG", Method::Stored)])).unwrap();
    assert_eq!(gapless_formats::expand(&[out.display().to_string()]).unwrap().len(), 9, "a stranger");
}
