//! Random jobs against a plain model of what their trace must say.

use std::collections::BTreeSet;

use gapless_record::encode::ProcessEncoder;
use gapless_record::recover::scan;
use gapless_ring::layout::{ABOUT_OPEN_RANGE, AttrType, Kind, Record};
use perfetto_proto::wire::Writer;
use proptest::prelude::*;

use super::support::*;

const THREADS: u32 = 3;
const DOMAINS: u32 = 4;

/// What a thread does.
#[derive(Clone, Debug)]
enum Act {
    Push {
        domain: u32,
        facts: u8,
    },
    Pop {
        domain: u32,
        facts: u8,
    },
    Late {
        domain: u32,
    },
    Mark,
    Start {
        domain: u32,
        facts: u8,
    },
    /// Ends one of the open ranges, by its place among them.
    End {
        which: usize,
        facts: u8,
    },
}

fn act() -> impl Strategy<Value = (u32, Act)> {
    let domain = 0..DOMAINS;
    let facts = 0..3u8;
    let act = prop_oneof![
        4 => (domain.clone(), facts.clone()).prop_map(|(domain, facts)| Act::Push { domain, facts }),
        4 => (domain.clone(), facts.clone()).prop_map(|(domain, facts)| Act::Pop { domain, facts }),
        1 => domain.clone().prop_map(|domain| Act::Late { domain }),
        1 => Just(Act::Mark),
        2 => (domain, facts.clone()).prop_map(|(domain, facts)| Act::Start { domain, facts }),
        2 => (0..8usize, facts).prop_map(|(which, facts)| Act::End { which, facts }),
    ];
    (0..THREADS, act)
}

/// A range of the model.
#[derive(Clone, Debug)]
struct Range {
    thread: u32,
    domain: u32,
    /// Whether it lies on the track of its domain.
    is_apart: bool,
    begin: u64,
    end: Option<u64>,
    name: String,
    /// With the time at which each was told.
    args: Vec<(u64, String, String)>,
}

/// What was done, as records per thread, and what a trace must say of it.
#[derive(Default)]
struct Model {
    names: Names,
    /// By thread: groups of slots with their time.
    records: Vec<Vec<(u64, Vec<Record>)>>,
    ranges: Vec<Range>,
    /// Ranges that may end on any thread: place in `ranges` and id.
    open: Vec<(usize, u64)>,
    is_async: Vec<bool>,
    apart: BTreeSet<(u32, u32)>,
    marks: Vec<Told>,
    unmatched: u64,
    orphans: u64,
    interleaved: u64,
    now: u64,
}

impl Model {
    fn new() -> Model {
        Model { records: vec![Vec::new(); THREADS as usize], ..Model::default() }
    }

    fn domain(&mut self, domain: u32) -> u32 {
        if domain == 0 { 0 } else { self.names.id(&format!("domain {domain}")) }
    }

    /// Facts as records, and as a trace tells them.
    fn facts(&mut self, count: u8) -> (Vec<Record>, Vec<(u64, String, String)>) {
        let mut records = Vec::new();
        let mut told = Vec::new();
        for index in 0..count {
            let key = format!("fact {index}");
            let number = self.names.id(&key);
            records.push(attr(self.now, number, AttrType::Unsigned, self.now + u64::from(index)));
            told.push((self.now, key, (self.now + u64::from(index)).to_string()));
        }
        (records, told)
    }

    fn write(&mut self, thread: u32, head: Record, facts: Vec<Record>) {
        self.records[thread as usize].push((self.now, [vec![head], facts].concat()));
    }

    fn innermost(&self, thread: u32, domain: Option<u32>) -> Option<usize> {
        (0..self.ranges.len()).rfind(|&index| {
            let range = &self.ranges[index];
            let is_wanted = domain.is_none_or(|domain| domain == range.domain);
            !self.is_async[index] && range.thread == thread && range.end.is_none() && is_wanted
        })
    }

    fn begin(&mut self, thread: u32, domain: u32, is_async: bool, args: Vec<(u64, String, String)>) -> Range {
        let is_apart = !is_async && self.apart.contains(&(thread, domain));
        let name = format!("range {}", self.now % 5);
        let begin = self.now;
        self.is_async.push(is_async);
        Range { thread, domain, is_apart, begin, end: None, name, args }
    }

    fn act(&mut self, thread: u32, act: &Act) {
        self.now += 10;
        let now = self.now;
        match *act {
            Act::Push { domain, facts } => {
                let number = self.domain(domain);
                let (records, mut told) = self.facts(facts);
                if domain != 0 {
                    told.insert(0, (now, "domain".to_owned(), format!("\"domain {domain}\"")));
                }
                let range = self.begin(thread, domain, false, told);
                let name = self.names.id(&range.name);
                self.ranges.push(range);
                self.write(thread, push(now, number, name), records);
            }
            Act::Pop { domain, facts } => {
                let number = self.domain(domain);
                let (records, told) = self.facts(facts);
                let orphans = told.len() as u64;
                match self.innermost(thread, Some(domain)).or_else(|| self.innermost(thread, None)) {
                    None => (self.unmatched, self.orphans) = (self.unmatched + 1, self.orphans + orphans),
                    Some(index) => {
                        let range = self.ranges[index].clone();
                        let has_open_inside = (index + 1..self.ranges.len()).any(|inside| {
                            let other = &self.ranges[inside];
                            !self.is_async[inside] && other.end.is_none() && is_same_track(&range, other)
                        });
                        if has_open_inside {
                            self.interleaved += 1;
                            self.apart.insert((thread, range.domain));
                        }
                        self.ranges[index].end = Some(now);
                        self.ranges[index].args.extend(told);
                    }
                }
                self.write(thread, pop(now, number), records);
            }
            Act::Late { domain } => {
                let number = self.domain(domain);
                let key = self.names.id("late");
                let head = attr(now, key, AttrType::Unsigned, now);
                self.write(thread, Record { domain: number, category: ABOUT_OPEN_RANGE, ..head }, Vec::new());
                match self.innermost(thread, Some(domain)) {
                    Some(index) => self.ranges[index].args.push((now, "late".to_owned(), now.to_string())),
                    None => self.orphans += 1,
                }
            }
            Act::Mark => {
                let name = self.names.id("mark");
                self.write(thread, Record { name, ..record(Kind::Mark, now) }, Vec::new());
                let at = now as i64;
                self.marks.push(Told { begin: at, end: at, name: "mark".to_owned(), args: Vec::new() });
            }
            Act::Start { domain, facts } => {
                let number = self.domain(domain);
                let (records, told) = self.facts(facts);
                let range = self.begin(thread, domain, true, told);
                let name = self.names.id(&range.name);
                self.open.push((self.ranges.len(), now));
                self.ranges.push(range);
                let head = Record { domain: number, name, payload: now, ..record(Kind::Start, now) };
                self.write(thread, head, records);
            }
            Act::End { which, facts } => {
                if self.open.is_empty() {
                    return;
                }
                let (index, id) = self.open.remove(which % self.open.len());
                let (records, told) = self.facts(facts);
                self.ranges[index].end = Some(now);
                self.ranges[index].args.extend(told);
                self.write(thread, Record { payload: id, ..record(Kind::End, now) }, records);
            }
        }
    }

    /// Ends all that is open.
    fn close(&mut self) {
        for thread in 0..THREADS {
            while let Some(index) = self.innermost(thread, None) {
                let domain = self.ranges[index].domain;
                self.act(thread, &Act::Pop { domain, facts: 0 });
            }
        }
        while !self.open.is_empty() {
            self.act(0, &Act::End { which: 0, facts: 1 });
        }
    }

    /// When the trace says that a range ends: not before what lies inside it on its track.
    fn shown_end(&self, index: usize) -> u64 {
        let range = &self.ranges[index];
        let mut end = range.end.unwrap();
        if self.is_async[index] {
            return end;
        }
        loop {
            let inside = self.ranges.iter().enumerate().filter(|&(other, inside)| {
                !self.is_async[other]
                    && is_same_track(range, inside)
                    && inside.begin > range.begin
                    && inside.begin < end
                    && inside.end.unwrap() > end
            });
            match inside.map(|(_, inside)| inside.end.unwrap()).max() {
                Some(later) => end = later,
                None => return end,
            }
        }
    }

    /// Whether an end is in the file before `at`: it waits for its facts until its thread says something else.
    fn is_written(&self, range: &Range, end: u64, at: u64) -> bool {
        self.records[range.thread as usize].iter().any(|&(time, _)| end < time && time < at)
    }

    /// What a trace must say of ranges that end at or after `from`. Of facts that were told before `lost_before` about
    /// ranges that may not be whole in the file by then, those of the begin are expected only.
    fn expected(&self, from: u64, lost_before: u64) -> Vec<Told> {
        let mut all = self.marks.clone();
        for (index, range) in self.ranges.iter().enumerate() {
            let (true_end, end) = (range.end.unwrap(), self.shown_end(index));
            let mut args: Vec<_> = range
                .args
                .iter()
                .filter(|&&(told, ..)| {
                    let is_whole = !self.is_async[index] && self.is_written(range, end, lost_before);
                    told == range.begin || told >= lost_before || is_whole
                })
                .map(|(_, key, value)| (key.clone(), value.clone()))
                .collect();
            if end > true_end {
                args.push(("ended_earlier_ns".to_owned(), (end - true_end).to_string()));
            }
            all.push(Told { begin: range.begin as i64, end: end as i64, name: range.name.clone(), args });
        }
        all.retain(|told| told.end >= from as i64);
        all.sort();
        all
    }

    /// Encodes records from `from` to before `until`, in batches that are drained in any order.
    fn encode(&self, job: &mut Job, from: u64, until: u64, batches: &[(u32, usize)]) {
        let mut rest: Vec<_> = self
            .records
            .iter()
            .map(|all| all.iter().filter(|(at, _)| (from..until).contains(at)).map(|(_, slots)| slots).peekable())
            .collect();
        let last = (0..THREADS).rev().map(|thread| (thread, usize::MAX));
        for (thread, count) in batches.iter().copied().chain(last) {
            let slots: Vec<_> = rest[thread as usize].by_ref().take(count).flatten().copied().collect();
            job.encode(thread, &slots);
        }
    }
}

fn is_same_track(a: &Range, b: &Range) -> bool {
    a.thread == b.thread && a.is_apart == b.is_apart && (!a.is_apart || a.domain == b.domain)
}

fn model_of(acts: &[(u32, Act)]) -> Model {
    let mut model = Model::new();
    for (thread, act) in acts {
        model.act(*thread, act);
    }
    model.close();
    model
}

fn job_of(model: &Model) -> Job {
    Job { names: model.names.clone(), ..Job::new() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_trace_says_what_was_done(
        acts in prop::collection::vec(act(), 0..80),
        batches in prop::collection::vec((0..THREADS, 1..6usize), 0..30),
    ) {
        let model = model_of(&acts);
        let mut job = job_of(&model);
        model.encode(&mut job, 0, u64::MAX, &batches);
        let trace = job.trace();
        if trace.events().is_empty() {
            return Ok(());
        }
        assert_clean(&trace);
        prop_assert_eq!(told(&trace), model.expected(0, 0));
        let counts = job.counts();
        prop_assert_eq!(
            (counts.ends_without_begin, counts.facts_without_event, counts.interleaved, counts.unknown),
            (model.unmatched, model.orphans, model.interleaved, 0)
        );
    }

    #[test]
    fn so_does_one_that_was_taken_up_again(
        acts in prop::collection::vec(act(), 1..80),
        batches in prop::collection::vec((0..THREADS, 1..6usize), 0..10),
        cut in any::<prop::sample::Index>(),
    ) {
        let model = model_of(&acts);
        let at = 10 * (1 + cut.index(acts.len()) as u64);
        let mut job = job_of(&model);
        model.encode(&mut job, 0, at, &batches);
        job.encoder.positions(&[(1, 1)], &mut job.out);
        let written = scan(job.out.as_bytes());
        job.encoder = ProcessEncoder::new(PID, START_TIME, written.last_sequence + 1);
        job.encoder.resume(written.state);
        model.encode(&mut job, at, u64::MAX, &batches);
        let trace = job.trace();
        if trace.events().is_empty() {
            return Ok(());
        }
        // Facts about a range that is open are kept in memory until it ends.
        let got = told(&trace);
        let (plain, expected): (Vec<_>, Vec<_>) = (names_of(&got), names_of(&model.expected(0, 0)));
        prop_assert_eq!(plain, expected);
        for told in model.expected(0, at) {
            let same = got.iter().find(|got| (got.begin, got.end) == (told.begin, told.end));
            let has = |arg| same.is_some_and(|same| same.args.contains(arg));
            prop_assert!(told.args.iter().all(has), "{told:?} is {same:?}");
        }
    }

    #[test]
    fn so_does_one_that_begins_in_the_middle(
        acts in prop::collection::vec(act(), 1..80),
        batches in prop::collection::vec((0..THREADS, 1..6usize), 0..10),
        cut in any::<prop::sample::Index>(),
    ) {
        let model = model_of(&acts);
        let at = 10 * (1 + cut.index(acts.len()) as u64);
        let mut job = job_of(&model);
        model.encode(&mut job, 0, at, &batches);
        job.flush();
        let mut opening = Writer::default();
        job.encoder.restart(&job.names, &mut opening);
        job.out = Writer::default();
        model.encode(&mut job, at, u64::MAX, &batches);
        job.finish();
        let bytes = [job.header().as_bytes(), opening.as_bytes(), job.out.as_bytes()].concat();
        let expected = model.expected(at, 0);
        if expected.is_empty() {
            return Ok(());
        }
        let trace = read(&bytes);
        assert_clean(&trace);
        prop_assert_eq!(told(&trace), expected);
    }
}

fn names_of(all: &[Told]) -> Vec<(i64, i64, String)> {
    all.iter().map(|told| (told.begin, told.end, told.name.clone())).collect()
}
