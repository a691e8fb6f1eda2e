//! Types and dimensions of operators' inputs, where the recording has them (`record_shapes=True`).

use gapless_trace::{ArgValue, EventId, Trace};

/// Inputs of one call of an operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shapes {
    /// Dimensions of each input; empty for what is no tensor.
    pub dims: Vec<Vec<u64>>,
    /// Element type of each input as the recording names it: `float`, `c10::BFloat16`, `long int`; `Scalar` and such for
    /// what is no tensor.
    pub types: Vec<String>,
    /// Strides of each input, in elements; empty where the recording has none.
    pub strides: Vec<Vec<u64>>,
    /// Values of what is no tensor, as text.
    pub values: Vec<String>,
}

impl Shapes {
    /// Of an operator; `None` if the recording has no dimensions for it.
    #[must_use]
    pub fn of(trace: &Trace, operator: EventId) -> Option<Self> {
        if !trace.has_args(operator) {
            return None;
        }
        let args = trace.args(operator).ok()?;
        let mut this = Self::default();
        let mut found = false;
        for (name, value) in &args {
            let ArgValue::List(items) = value else { continue };
            match name.to_ascii_lowercase().as_str() {
                "input dims" => {
                    this.dims = items.iter().map(numbers).collect();
                    found = true;
                }
                "input strides" => this.strides = items.iter().map(numbers).collect(),
                "input type" => this.types = items.iter().map(ToString::to_string).collect(),
                "concrete inputs" => this.values = items.iter().map(ToString::to_string).collect(),
                _ => {}
            }
        }
        found.then_some(this)
    }

    /// Dimensions of an input; empty if it is no tensor.
    #[must_use]
    pub fn dims_of(&self, input: usize) -> &[u64] {
        self.dims.get(input).map_or(&[], Vec::as_slice)
    }

    /// Type of an input; empty if unknown.
    #[must_use]
    pub fn type_of(&self, input: usize) -> &str {
        self.types.get(input).map_or("", String::as_str)
    }

    /// Elements of an input; 0 if it is no tensor.
    #[must_use]
    pub fn elements(&self, input: usize) -> u64 {
        let dims = self.dims_of(input);
        if dims.is_empty() { 0 } else { dims.iter().fold(1, |product, &dim| product.saturating_mul(dim)) }
    }
}

fn numbers(value: &ArgValue) -> Vec<u64> {
    let ArgValue::List(items) = value else { return Vec::new() };
    let numbers: Option<Vec<u64>> =
        items.iter().map(|item| item.as_i64().and_then(|n| u64::try_from(n).ok())).collect();
    // A list of tensors is nested once more: it has no dimensions of its own.
    numbers.unwrap_or_default()
}

/// Bytes of an element of this type; `None` for what is no number.
#[must_use]
pub fn element_bytes(name: &str) -> Option<u64> {
    Some(match name.trim_start_matches("c10::") {
        "BFloat16" | "Half" | "short" | "half" | "bfloat16" => 2,
        "float" | "int" | "Float" => 4,
        "double" | "long" | "long int" | "Long" | "Double" => 8,
        "bool" | "signed char" | "unsigned char" | "char" => 1,
        name if name.starts_with("Float8") => 1,
        _ => return None,
    })
}

/// Whether this type is a floating-point number.
#[must_use]
pub fn is_floating(name: &str) -> bool {
    let name = name.trim_start_matches("c10::");
    matches!(name, "BFloat16" | "Half" | "float" | "double") || name.starts_with("Float8")
}

/// A matrix product, or several of one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// How many.
    pub batch: u64,
    /// Rows of the result.
    pub m: u64,
    /// Columns of the result.
    pub n: u64,
    /// What is summed over.
    pub k: u64,
    /// Type of the elements.
    pub element: String,
}

impl Product {
    /// From the name of an operator and its inputs.
    #[must_use]
    pub fn of(operator: &str, shapes: &Shapes) -> Option<Self> {
        let (first, second) = match operator {
            "aten::mm" | "aten::bmm" | "aten::_scaled_mm" => (0, 1),
            "aten::addmm" | "aten::baddbmm" => (1, 2),
            "aten::linear" => {
                let (&k, rows) = shapes.dims_of(0).split_last()?;
                let [n, inner] = *shapes.dims_of(1) else { return None };
                let m = rows.iter().fold(1_u64, |product, &dim| product.saturating_mul(dim));
                let element = shapes.type_of(0).to_owned();
                return (inner == k).then_some(Self { batch: 1, m, n, k, element });
            }
            _ => return None,
        };
        let element = shapes.type_of(first).to_owned();
        match (shapes.dims_of(first), shapes.dims_of(second)) {
            (&[m, k], &[inner, n]) if inner == k => Some(Self { batch: 1, m, n, k, element }),
            (&[batch, m, k], &[_, inner, n]) if inner == k => Some(Self { batch, m, n, k, element }),
            _ => None,
        }
    }

    /// Floating-point operations: two for each multiplication with its addition.
    #[must_use]
    pub fn flops(&self) -> f64 {
        2.0 * self.batch as f64 * self.m as f64 * self.n as f64 * self.k as f64
    }

    /// Dimensions that are multiples of this.
    #[must_use]
    pub fn padded(&self, to: u64) -> Self {
        let up = |dim: u64| dim.div_ceil(to.max(1)).saturating_mul(to.max(1));
        Self { batch: self.batch, m: up(self.m), n: up(self.n), k: up(self.k), element: self.element.clone() }
    }

    /// The multiple in elements at which rows begin at 16 bytes, as Tensor Cores like them.
    ///
    /// 8 for 16-bit types, 4 for TF32, 16 for 8-bit types (NVIDIA, "Matrix Multiplication Background User's Guide").
    #[must_use]
    pub fn alignment(&self) -> Option<u64> {
        element_bytes(&self.element).filter(|&bytes| bytes <= 4 && is_floating(&self.element)).map(|bytes| 16 / bytes)
    }

    /// Whether some dimension is off that multiple.
    #[must_use]
    pub fn is_misaligned(&self) -> bool {
        self.alignment().is_some_and(|to| [self.m, self.n, self.k].iter().any(|dim| dim % to != 0))
    }

    /// The least dimension.
    #[must_use]
    pub fn least(&self) -> u64 {
        self.m.min(self.n).min(self.k)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(dims: &[&[u64]], element: &str) -> Shapes {
        let types = dims.iter().map(|_| element.to_owned()).collect();
        Shapes { dims: dims.iter().map(|dims| dims.to_vec()).collect(), types, ..Shapes::default() }
    }

    #[test]
    fn products_of_operators() {
        let product = |name: &str, dims: &[&[u64]]| Product::of(name, &shapes(dims, "c10::BFloat16"));
        let flops = |name, dims| product(name, dims).map(|product| product.flops());
        assert_eq!(flops("aten::mm", &[&[2, 3], &[3, 5]]), Some(60.0));
        assert_eq!(flops("aten::addmm", &[&[5], &[2, 3], &[3, 5]]), Some(60.0));
        assert_eq!(flops("aten::bmm", &[&[4, 2, 3], &[4, 3, 5]]), Some(240.0));
        assert_eq!(flops("aten::linear", &[&[4, 2, 3], &[5, 3]]), Some(240.0));
        // Inputs that do not fit are no product.
        assert_eq!(flops("aten::mm", &[&[2, 3], &[4, 5]]), None);
        assert_eq!(flops("aten::add", &[&[2, 3], &[3, 5]]), None);
    }

    #[test]
    fn alignment_goes_by_bytes() {
        let off = |element: &str, m| Product { batch: 1, m, n: 64, k: 64, element: element.to_owned() }.is_misaligned();
        assert!(off("c10::Half", 68) && !off("float", 68) && off("float", 66) && off("c10::Float8_e4m3fn", 72));
        assert!(!off("long int", 67));
        let product = Product { batch: 1, m: 65, n: 50257, k: 64, element: "c10::Half".to_owned() };
        assert_eq!((product.padded(8).m, product.padded(8).n, product.padded(8).k), (72, 50264, 64));
    }
}
