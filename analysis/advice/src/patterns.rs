//! Named patterns of device work that selectors can name: `remove(pattern=casts)`.
//!
//! A pattern says what work is for, where neither its class nor one name does: conversions of types, of layouts, what
//! attention costs beside its matrix products.

use gapless_analysis::graph::{NodeId, NodeKind};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use crate::shapes::{Shapes, is_floating};
use crate::study::Study;
use gapless_analysis::KernelClass;

/// A pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// Copies from one floating-point type to another.
    Casts,
    /// Conversions between layouts of images (NCHW, NHWC), by the libraries or by `.contiguous()`.
    Layout,
    /// What lies between the two matrix products of attention: masks, scale, softmax, dropout.
    AttentionGlue,
}

impl Pattern {
    /// How many there are.
    pub const COUNT: usize = 3;

    /// All, in declaration order.
    pub const ALL: [Self; Self::COUNT] = [Self::Casts, Self::Layout, Self::AttentionGlue];

    /// Its name in selectors.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Casts => "casts",
            Self::Layout => "layout",
            Self::AttentionGlue => "attention-glue",
        }
    }

    /// From its name in selectors.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pattern| pattern.label() == label)
    }

    /// All nodes of it.
    pub(crate) fn find(self, study: &Study<'_>) -> FxHashSet<NodeId> {
        match self {
            Self::Casts => kernels(study, is_cast),
            Self::Layout => kernels(study, is_layout),
            Self::AttentionGlue => {
                chains(study).into_iter().flat_map(|chain| chain.glue).collect::<FxHashSet<NodeId>>()
            }
        }
    }
}

/// Operators that copy tensors.
const COPIES: [&str; 6] =
    ["aten::copy_", "aten::_to_copy", "aten::to", "aten::clone", "aten::contiguous", "aten::_foreach_copy_"];

/// Kernels that one look at the kernel, its operator and its inputs decides about; each call of an operator is read once.
fn kernels(study: &Study<'_>, fits: fn(&str, &[&str], Option<&Shapes>) -> bool) -> FxHashSet<NodeId> {
    let mut found = FxHashSet::default();
    let mut shapes: FxHashMap<gapless_trace::EventId, Option<Shapes>> = FxHashMap::default();
    for id in study.nodes_of(NodeKind::Kernel) {
        let name = study.name(id);
        let Some(operator) = study.facts().operator(id) else {
            if fits(name, &[], None) {
                found.insert(id);
            }
            continue;
        };
        let own = study.trace().name(operator);
        let mut around = vec![own];
        if COPIES.contains(&own) {
            around.extend(study.around(operator).take_while(|name| name.starts_with("aten::")));
        }
        let read = COPIES
            .contains(&own)
            .then(|| shapes.entry(operator).or_insert_with(|| Shapes::of(study.trace(), operator)).as_ref());
        if fits(name, &around, read.flatten()) {
            found.insert(id);
        }
    }
    found
}

fn is_cast(kernel: &str, around: &[&str], shapes: Option<&Shapes>) -> bool {
    let Some(operator) = around.first().filter(|name| COPIES.contains(*name)) else { return false };
    if let Some(shapes) = shapes
        && *operator == "aten::copy_"
    {
        // copy_(target, source).
        let (to, from) = (shapes.type_of(0), shapes.type_of(1));
        return is_floating(to) && is_floating(from) && to != from;
    }
    // Without types only copies named after one.
    kernel.contains("float16_copy_kernel") || kernel.contains("float8_copy_kernel")
}

/// Words in names of kernels that convert layouts of images (cuDNN, MIOpen).
const LAYOUT_KERNELS: [&str; 6] =
    ["nchwtonhwc", "nhwctonchw", "nchwtofoldednhwc", "foldednhwctonchw", "nchw2nhwc", "batched_transpose_"];

fn is_layout(kernel: &str, around: &[&str], shapes: Option<&Shapes>) -> bool {
    let kernel = kernel.to_ascii_lowercase();
    if LAYOUT_KERNELS.iter().any(|word| kernel.contains(word)) {
        return true;
    }
    let Some(shapes) = shapes.filter(|_| around.first() == Some(&"aten::copy_")) else { return false };
    // The copy of `.contiguous()`: images (four or five dimensions) of one type whose channels lie elsewhere.
    let strides = |input: usize| shapes.strides.get(input).map_or(&[][..], Vec::as_slice);
    around.contains(&"aten::contiguous")
        && matches!(shapes.dims_of(1).len(), 4 | 5)
        && shapes.type_of(0) == shapes.type_of(1)
        && strides(0).get(1) != strides(1).get(1)
        // A channel dimension of stride one on exactly one side.
        && (strides(0).get(1) == Some(&1)) != (strides(1).get(1) == Some(&1))
}

/// One attention that is made of single operators.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    /// Its matrix products.
    pub products: Vec<NodeId>,
    /// What lies between them.
    pub glue: Vec<NodeId>,
    /// Whether it is the backward pass.
    pub is_backward: bool,
}

/// The farthest product from a softmax, in kernels of the stream.
const REACH: usize = 8;

/// Batched product, up to eight kernels that scale, mask, fold or drop, of which one is a softmax, batched product.
pub(crate) fn chains(study: &Study<'_>) -> Vec<Chain> {
    let facts = study.facts();
    let is_batched = |id: NodeId| {
        let operator = study.operator_name(id);
        facts.class(id) == KernelClass::Gemm && matches!(operator, "aten::bmm" | "aten::baddbmm")
    };
    let is_glue = |id: NodeId| {
        study.graph().node(id).kind == NodeKind::Kernel
            // A sum or a norm on the way to the product belongs to something else.
            && matches!(facts.class(id), KernelClass::Elementwise | KernelClass::Movement | KernelClass::Other)
    };
    let mut found = Vec::new();
    for track in facts.streams() {
        let stream = facts.stream(track);
        for (place, &id) in stream.iter().enumerate() {
            let operator = study.operator_name(id);
            if !operator.starts_with("aten::_softmax") && operator != "aten::softmax" {
                continue;
            }
            let is_backward = operator.contains("backward");
            let back: Vec<NodeId> = stream.iter().take(place).rev().take(REACH + 1).copied().collect();
            let forth: Vec<NodeId> = stream.iter().skip(place + 1).take(REACH + 1).copied().collect();
            let run = |side: &[NodeId]| -> Option<(Vec<NodeId>, Vec<NodeId>)> {
                let glue: Vec<NodeId> = side.iter().copied().take_while(|&id| is_glue(id)).collect();
                let products: Vec<NodeId> =
                    side.iter().skip(glue.len()).copied().take_while(|&id| is_batched(id)).take(2).collect();
                (!products.is_empty()).then_some((glue, products))
            };
            let (Some((before, first)), Some((after, second))) = (run(&back), run(&forth)) else { continue };
            let steps = || first.iter().chain(&second).map(|&product| facts.step(product));
            if steps().any(|step| step != facts.step(id)) {
                continue;
            }
            // Forward one product lies on each side, backward two.
            let each = if is_backward { 2 } else { 1 };
            let mut chain = Chain { is_backward, ..Chain::default() };
            chain.products.extend(first.into_iter().take(each));
            chain.products.extend(second.into_iter().take(each));
            chain.glue.extend(before);
            chain.glue.push(id);
            chain.glue.extend(after);
            found.push(chain);
        }
    }
    found
}
