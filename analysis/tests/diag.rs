#![allow(clippy::unwrap_used, clippy::print_stderr)]
use gapless_analysis::graph::*;
use gapless_analysis::path::*;
use gapless_formats::{OpenOptions, Silent, open};
#[test]
fn diag() {
    let f = std::env::var("DIAG").unwrap();
    for f in f.split(' ') {
    let trace = open(&[f.into()], &OpenOptions::default(), &Silent).unwrap();
    let graph = Graph::new(&trace, &GraphInput::plain(), &GraphOptions::default());
    let path = whole_path(&graph);
    let mut sums: std::collections::BTreeMap<(String, String), (i64, i64, i64,i64)> = Default::default();
    for &id in &path.nodes {
        let n = graph.node(id);
        let b = graph.edges_to(id).max_by_key(|e| graph.source_time_ns(e) + e.lag_ns);
        if let Some(b) = b {
            let e = sums.entry((format!("{:?}/{:?}", b.kind, b.evidence), format!("{:?}", n.kind))).or_default();
            let x = graph.unexplained_ns(id);
            e.0 += 1;
            if x > 0 { e.1 += x; e.3 += 1; } else { e.2 += n.residual_ns; }
        }
    }
    eprintln!("{f}");
    for c in path.partition.shares() { eprintln!("   {:?} {:.3} ms {:.1}%", c.category, c.ns as f64/1e6, c.share*100.0); }
    for (k, v) in sums { eprintln!("   {k:?}: n {} X {:.3} ms (n {}) dropped {:.3} ms", v.0, v.1 as f64/1e6, v.3, v.2 as f64/1e6); }
    for (k, r) in graph.reports() { eprintln!("   {k:?} {r:?}"); }
    eprintln!("   {:?}", graph.constants());
    }
}
