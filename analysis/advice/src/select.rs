//! Which work an edit touches.
//!
//! A selector is a list of terms, all of which must hold: `class=gemm`, `kernel~nchwToNhwc`, `op=aten::add_`, `op~norm`,
//! `comm=all_reduce`, `group=0`, `rank=3`, `step=5`, `stream=7`, `kind=kernel|copy|fill|host|gc|dataloader|launch`,
//! `call=cudaDeviceSynchronize`. `pattern=casts|layout|attention-glue` selects work by what it is for. `~` is a regular
//! expression, `=` the name itself. No term selects all device work.

use gapless_analysis::graph::{NodeId, NodeKind};
use regex::Regex;

use crate::patterns::Pattern as Work;
use crate::study::Study;
use gapless_analysis::KernelClass;

/// A term of a selector.
#[derive(Clone, Debug)]
enum Term {
    Class(KernelClass),
    Kernel(Pattern),
    Operator(Pattern),
    Call(Pattern),
    Collective(String),
    Group(String),
    Rank(u32),
    Step(u64),
    Stream(i64),
    Kind(Vec<Kind>),
    Work(Work),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kernel,
    Copy,
    Fill,
    Communication,
    Host,
    Launch,
    DataLoader,
    Gc,
}

#[derive(Clone, Debug)]
enum Pattern {
    Is(String),
    Matches(Regex),
}

impl Pattern {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Is(name) => name == text,
            Self::Matches(regex) => regex.is_match(text),
        }
    }
}

/// Selects nodes of a graph.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    terms: Vec<Term>,
    text: String,
}

/// A term that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{term}` is no term of a selector: {reason}")]
pub struct SelectorError {
    /// The term.
    pub term: String,
    /// What to write instead.
    pub reason: String,
}

impl Selector {
    /// From terms such as `class=gemm` or `kernel~elementwise`.
    ///
    /// # Errors
    /// When a term is none of those that the module lists.
    pub fn parse<'a>(terms: impl IntoIterator<Item = &'a str>) -> Result<Self, SelectorError> {
        let mut this = Self::default();
        for term in terms {
            this.terms.push(parse_term(term)?);
            if !this.text.is_empty() {
                this.text.push(',');
            }
            this.text.push_str(term);
        }
        Ok(this)
    }

    /// Whether it has no terms.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a word before `=` or `~` begins a term.
    #[must_use]
    pub fn is_term(text: &str) -> bool {
        let key = text.split(['=', '~']).next().unwrap_or_default();
        matches!(
            key,
            "class" | "kernel" | "op" | "call" | "comm" | "group" | "rank" | "step" | "stream" | "kind" | "pattern"
        )
    }

    /// Whether it names host time, so that selecting operators means their time on threads too.
    #[must_use]
    pub fn is_host(&self) -> bool {
        let host = [Kind::Host, Kind::Launch, Kind::DataLoader, Kind::Gc];
        self.terms.iter().any(|term| match term {
            Term::Kind(kinds) => kinds.iter().any(|kind| host.contains(kind)),
            Term::Call(_) => true,
            _ => false,
        })
    }

    /// Whether it names kernels, copies or fills by their name.
    #[must_use]
    pub fn names_device_work(&self) -> bool {
        self.terms.iter().any(|term| matches!(term, Term::Kernel(_)))
    }

    /// Whether a node is selected. Nodes without time of their own (arrivals, marks) never are.
    #[must_use]
    pub fn fits(&self, study: &Study<'_>, id: NodeId) -> bool {
        (self.is_host() || study.graph().node(id).kind.is_device()) && self.fits_host(study, id)
    }

    /// The same, but without a word about the host the selector still selects host nodes.
    #[must_use]
    pub fn fits_host(&self, study: &Study<'_>, id: NodeId) -> bool {
        let node = study.graph().node(id);
        let kind = match node.kind {
            NodeKind::Kernel => Kind::Kernel,
            NodeKind::Copy => Kind::Copy,
            NodeKind::Fill => Kind::Fill,
            NodeKind::Transfer | NodeKind::EstimatedWait => Kind::Communication,
            NodeKind::Host | NodeKind::Call => Kind::Host,
            NodeKind::Launch => Kind::Launch,
            NodeKind::DataLoader => Kind::DataLoader,
            NodeKind::Gc => Kind::Gc,
            _ => return false,
        };
        let facts = study.facts();
        self.terms.iter().all(|term| match term {
            Term::Class(class) => facts.class(id) == *class,
            Term::Kernel(pattern) => node.kind.is_device() && pattern.fits(study.name(id)),
            Term::Operator(pattern) => {
                let Some(operator) = facts.operator(id) else { return false };
                pattern.fits(study.trace().name(operator)) || study.around(operator).any(|name| pattern.fits(name))
            }
            Term::Call(pattern) => {
                matches!(node.kind, NodeKind::Call | NodeKind::Launch) && pattern.fits(study.name(id))
            }
            Term::Collective(name) => facts
                .instance(id)
                .and_then(|place| study.collectives().get(place))
                .is_some_and(|instance| plain(instance.kind.label()) == plain(name)),
            Term::Group(name) => facts
                .instance(id)
                .and_then(|place| study.collectives().get(place))
                .is_some_and(|instance| instance.group == *name),
            Term::Rank(number) => {
                let rank = node.place.and_then(|place| study.trace().rank(place.rank).map(|rank| (place.rank, rank)));
                rank.is_some_and(|(id, rank)| rank.number.unwrap_or(id.0) == *number)
            }
            Term::Step(number) => facts
                .step(id)
                .and_then(|place| study.graph().steps().get(place).map(|step| (place, step)))
                .is_some_and(|(place, step)| step.number.unwrap_or(place as u64) == *number),
            Term::Stream(number) => {
                let track =
                    node.place.filter(|place| place.is_device).and_then(|place| study.trace().track(place.track));
                track.and_then(gapless_trace::Track::stream) == Some(*number)
            }
            Term::Kind(kinds) => kinds.contains(&kind),
            Term::Work(pattern) => study.nodes_with(*pattern).contains(&id),
        })
    }

    /// All selected nodes, in order.
    #[must_use]
    pub fn nodes(&self, study: &Study<'_>) -> Vec<NodeId> {
        study.graph().node_ids().filter(|&id| self.fits(study, id)).collect()
    }
}

/// Letters and digits in lower case: `all_reduce`, `AllReduce` and `all-reduce` are one.
fn plain(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

fn parse_term(term: &str) -> Result<Term, SelectorError> {
    let error = |reason: String| SelectorError { term: term.to_owned(), reason };
    let Some(at) = term.find(['=', '~']) else {
        return Err(error("write KEY=VALUE or KEY~REGEX".to_owned()));
    };
    let (key, rest) = term.split_at(at);
    let (is_regex, value) = (rest.starts_with('~'), rest.get(1..).unwrap_or_default());
    let pattern = || -> Result<Pattern, SelectorError> {
        if is_regex {
            Regex::new(value).map(Pattern::Matches).map_err(|why| error(why.to_string()))
        } else {
            Ok(Pattern::Is(value.to_owned()))
        }
    };
    match key {
        "kernel" => return pattern().map(Term::Kernel),
        "op" => return pattern().map(Term::Operator),
        "call" => return pattern().map(Term::Call),
        _ if is_regex => return Err(error("only kernel, op and call take a regular expression".to_owned())),
        _ => {}
    }
    let number = |what: &str| error(format!("{what} must be a number"));
    match key {
        "class" => KernelClass::from_label(value).map(Term::Class).ok_or_else(|| {
            let labels: Vec<&str> = KernelClass::ALL.into_iter().map(KernelClass::label).collect();
            error(format!("classes are {}", labels.join(", ")))
        }),
        "comm" => Ok(Term::Collective(value.to_owned())),
        "group" => Ok(Term::Group(value.to_owned())),
        "rank" => value.parse().map(Term::Rank).map_err(|_| number("rank")),
        "step" => value.parse().map(Term::Step).map_err(|_| number("step")),
        "stream" => value.parse().map(Term::Stream).map_err(|_| number("stream")),
        "kind" => {
            let kinds: Option<Vec<Kind>> = value
                .split('|')
                .map(|kind| match kind {
                    "kernel" => Some(Kind::Kernel),
                    "copy" => Some(Kind::Copy),
                    "fill" => Some(Kind::Fill),
                    "communication" | "comm" => Some(Kind::Communication),
                    "host" => Some(Kind::Host),
                    "launch" => Some(Kind::Launch),
                    "dataloader" => Some(Kind::DataLoader),
                    "gc" => Some(Kind::Gc),
                    _ => None,
                })
                .collect();
            kinds.map(Term::Kind).ok_or_else(|| {
                error(
                    "kinds are kernel, copy, fill, communication, host, launch, dataloader, gc, joined by |".to_owned(),
                )
            })
        }
        "pattern" => Work::from_label(value).map(Term::Work).ok_or_else(|| {
            let labels: Vec<&str> = Work::ALL.into_iter().map(Work::label).collect();
            error(format!("patterns are {}", labels.join(", ")))
        }),
        _ => Err(error("keys are class, kernel, op, call, comm, group, rank, step, stream, kind, pattern".to_owned())),
    }
}
