//! An operator as the cost models see it: its name and what the trace tells of its inputs.

use gapless_trace::{ArgValue, Args};

use crate::DType;

/// A tensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// Lengths of its dimensions; empty for a tensor of one element without dimensions.
    pub shape: Vec<u64>,
    /// Type of its elements, where the trace tells.
    pub dtype: Option<DType>,
}

impl Tensor {
    /// How many elements it has.
    #[must_use]
    pub fn elements(&self) -> f64 {
        elements(&self.shape)
    }

    /// Its bytes; an error where the type is not known.
    ///
    /// # Errors
    /// A sentence that says which type is missing.
    pub fn bytes(&self) -> Result<f64, String> {
        Ok(self.elements() * self.element_bytes()?)
    }

    /// Bytes of one element; an error where the type is not known.
    ///
    /// # Errors
    /// A sentence that says which type is missing.
    pub fn element_bytes(&self) -> Result<f64, String> {
        self.dtype.map(DType::bytes).ok_or_else(|| "the element type of an input is not recorded".to_owned())
    }

    /// The length of dimension `index`.
    pub(crate) fn dim(&self, index: usize) -> Result<f64, String> {
        let dim = self.shape.get(index).copied();
        dim.map(|length| length as f64).ok_or_else(|| format!("an input has {} dimensions", self.shape.len()))
    }

    /// The length of the last dimension.
    pub(crate) fn last_dim(&self) -> Result<f64, String> {
        self.shape.last().map(|&length| length as f64).ok_or_else(|| "an input has no dimensions".to_owned())
    }
}

/// How many elements a shape has.
#[must_use]
pub fn elements(shape: &[u64]) -> f64 {
    shape.iter().map(|&length| length as f64).product()
}

/// One input of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A tensor with its shape.
    Tensor(Tensor),
    /// A list of tensors; traces give its shapes but rarely its types.
    List(Vec<Tensor>),
    /// A number, a truth value or a list of them, as the trace prints it; empty where it does not.
    Scalar(String),
    /// Nothing, or something that the trace says nothing of.
    Absent,
}

/// An operator and its inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Operator {
    /// Its name (`aten::mm`).
    pub name: String,
    /// Its inputs in order.
    pub inputs: Vec<Input>,
    /// Distinct names of its kernels, sorted: some say what the inputs do not.
    pub kernels: Vec<String>,
    /// What an engine for serving wrote about the requests of the batch.
    pub batch: Option<Batch>,
}

/// Lengths of the requests of a serving batch, summed: what vLLM and SGLang profiles write into the annotation
/// `execute_…_context_N(sq…sk…sqsq…sqsk…)_generation_M(…)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Batch {
    /// Requests that are being read in.
    pub context: Requests,
    /// Requests that are being written.
    pub generation: Requests,
}

/// Sums over the requests of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Requests {
    /// Σ queries.
    pub queries: u64,
    /// Σ keys.
    pub keys: u64,
    /// Σ queries².
    pub queries_squared: u64,
    /// Σ queries × keys.
    pub queries_keys: u64,
}

impl Batch {
    /// Reads the annotation; `None` if it is another one.
    #[must_use]
    pub fn parse(annotation: &str) -> Option<Self> {
        let (_, rest) = annotation.split_once("_context_")?;
        let (context, generation) = rest.split_once("_generation_")?;
        Some(Self { context: Requests::parse(context)?, generation: Requests::parse(generation)? })
    }
}

impl Requests {
    fn parse(text: &str) -> Option<Self> {
        let (_, inner) = text.split_once('(')?;
        let inner = inner.strip_suffix(')').or_else(|| inner.split_once(')').map(|(inner, _)| inner))?;
        let rest = inner.strip_prefix("sq")?;
        let (queries, rest) = rest.split_once("sk")?;
        // The first `sk` ends the queries; then `sqsq` and `sqsk` follow.
        let (keys, rest) = rest.split_once("sqsq")?;
        let (queries_squared, queries_keys) = rest.split_once("sqsk")?;
        Some(Self {
            queries: queries.parse().ok()?,
            keys: keys.parse().ok()?,
            queries_squared: queries_squared.parse().ok()?,
            queries_keys: queries_keys.parse().ok()?,
        })
    }
}

impl Operator {
    /// An operator without inputs.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// This operator with one more tensor.
    #[must_use]
    pub fn tensor(mut self, shape: &[u64], dtype: DType) -> Self {
        self.inputs.push(Input::Tensor(Tensor { shape: shape.to_vec(), dtype: Some(dtype) }));
        self
    }

    /// This operator with one more scalar or list of scalars, as a trace prints it.
    #[must_use]
    pub fn scalar(mut self, value: &str) -> Self {
        self.inputs.push(Input::Scalar(value.to_owned()));
        self
    }

    /// This operator with one more list of tensors of one type.
    #[must_use]
    pub fn list(mut self, shapes: &[&[u64]], dtype: Option<DType>) -> Self {
        let tensors = shapes.iter().map(|shape| Tensor { shape: shape.to_vec(), dtype }).collect();
        self.inputs.push(Input::List(tensors));
        self
    }

    /// This operator with an input that is not there.
    #[must_use]
    pub fn absent(mut self) -> Self {
        self.inputs.push(Input::Absent);
        self
    }

    /// Reads the inputs from an event's arguments.
    #[must_use]
    pub fn from_args(name: &str, args: &Args) -> Self {
        let list = |keys: [&str; 2]| {
            let found = args.iter().find(|(key, _)| keys.contains(&key.as_str()))?;
            match &found.1 {
                ArgValue::List(items) => Some(items.as_slice()),
                _ => None,
            }
        };
        // The oldest profiles write "Input dims".
        let shapes = list(["Input Dims", "Input dims"]).unwrap_or_default();
        let types = list(["Input type", "Input Type"]).unwrap_or_default();
        let values = list(["Concrete Inputs", "Concrete inputs"]).unwrap_or_default();
        let count = shapes.len().max(types.len()).max(values.len());
        let inputs = (0..count).map(|index| input(shapes.get(index), types.get(index), values.get(index))).collect();
        Self { name: name.to_owned(), inputs, kernels: Vec::new(), batch: None }
    }

    /// The name without its namespace: `mm` of `aten::mm`.
    #[must_use]
    pub fn base(&self) -> &str {
        self.name.rsplit("::").next().unwrap_or(&self.name)
    }

    /// Input `index`, if it is a tensor.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Tensor> {
        match self.inputs.get(index)? {
            Input::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// Input `index`, which must be a tensor.
    pub(crate) fn need(&self, index: usize) -> Result<&Tensor, String> {
        self.get(index).ok_or_else(|| {
            if self.inputs.is_empty() {
                "the trace has no shapes (record with record_shapes=True)".to_owned()
            } else {
                format!("input {index} is no tensor with a recorded shape")
            }
        })
    }

    /// The tensors of input `index`, which must be a list of tensors with shapes.
    pub(crate) fn need_list(&self, index: usize) -> Result<&[Tensor], String> {
        match self.inputs.get(index) {
            Some(Input::List(tensors)) if !tensors.is_empty() => Ok(tensors),
            _ => Err(format!("the shapes of the list of tensors (input {index}) are not recorded")),
        }
    }

    /// All tensors among the inputs, lists not included.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.inputs.iter().filter_map(|input| match input {
            Input::Tensor(tensor) => Some(tensor),
            _ => None,
        })
    }

    /// Input `index` as the trace prints it, if it is a scalar that the trace prints.
    pub(crate) fn value(&self, index: usize) -> Option<&str> {
        match self.inputs.get(index)? {
            Input::Scalar(value) if !value.is_empty() => Some(value),
            _ => None,
        }
    }

    /// Input `index` as a truth value.
    pub(crate) fn truth(&self, index: usize) -> Option<bool> {
        match self.value(index)? {
            "True" | "true" | "1" => Some(true),
            "False" | "false" | "0" => Some(false),
            _ => None,
        }
    }

    /// Input `index` as a whole number.
    pub(crate) fn whole(&self, index: usize) -> Option<i64> {
        self.value(index)?.parse().ok()
    }

    /// Input `index` as a list of whole numbers (`[1, 1]`); a number alone is a list of one.
    pub(crate) fn wholes(&self, index: usize) -> Option<Vec<i64>> {
        let inner = self.value(index)?.trim_start_matches('[').trim_end_matches(']').trim();
        if inner.is_empty() {
            return Some(Vec::new());
        }
        inner.split(',').map(|part| part.trim().parse().ok()).collect()
    }

    /// Input `index` as a list of truth values (`[True, False]`).
    pub(crate) fn truths(&self, index: usize) -> Option<Vec<bool>> {
        let inner = self.value(index)?.trim_start_matches('[').trim_end_matches(']');
        inner.split(',').map(|part| matches!(part.trim(), "True" | "true")).map(Some).collect()
    }

    /// Whether the name of any of its kernels holds `part`, in lower case.
    pub(crate) fn kernel_has(&self, part: &str) -> bool {
        self.kernels.iter().any(|name| name.to_ascii_lowercase().contains(part))
    }

    /// The inputs for people: `[512, 1024] bf16, [1024] bf16`; scalars left out.
    #[must_use]
    pub fn shapes_text(&self) -> String {
        let tensor = |tensor: &Tensor| {
            let lengths: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
            format!("[{}]", lengths.join(", "))
        };
        let mut text = Vec::new();
        let mut last = None;
        for input in &self.inputs {
            match input {
                Input::Tensor(found) => {
                    // A type is said where it changes.
                    let dtype = found.dtype.filter(|dtype| last != Some(*dtype));
                    last = found.dtype.or(last);
                    text.push(match dtype {
                        Some(dtype) => format!("{} {}", dtype.label(), tensor(found)),
                        None => tensor(found),
                    });
                }
                Input::List(found) => match found.as_slice() {
                    [] => text.push("list".to_owned()),
                    [only] => text.push(format!("list of {}", tensor(only))),
                    [first, ..] => text.push(format!("{} tensors, first {}", found.len(), tensor(first))),
                },
                Input::Scalar(_) | Input::Absent => {}
            }
        }
        text.join(" ")
    }
}

fn shape(value: &ArgValue) -> Option<Vec<u64>> {
    let ArgValue::List(items) = value else { return None };
    items.iter().map(|item| u64::try_from(item.as_i64()?).ok()).collect()
}

fn input(dims: Option<&ArgValue>, dtype: Option<&ArgValue>, value: Option<&ArgValue>) -> Input {
    let name = dtype.and_then(ArgValue::as_str).unwrap_or_default();
    let parsed = DType::parse(name);
    let text = || value.map(printed).unwrap_or_default();
    match name {
        "Scalar" | "ScalarList" => return Input::Scalar(text()),
        "TensorList" | "GenericList" => {
            let Some(ArgValue::List(items)) = dims else { return Input::List(Vec::new()) };
            let tensors = items.iter().map(|item| Some(Tensor { shape: shape(item)?, dtype: None }));
            return Input::List(tensors.collect::<Option<_>>().unwrap_or_default());
        }
        _ => {}
    }
    match dims.and_then(shape) {
        // Without a type an empty shape says nothing: many things that are no tensors have it.
        Some(shape) if parsed.is_some() || !shape.is_empty() => Input::Tensor(Tensor { shape, dtype: parsed }),
        _ => {
            let text = text();
            if text.is_empty() { Input::Absent } else { Input::Scalar(text) }
        }
    }
}

/// A concrete input as text: older profiles write numbers and lists as such.
fn printed(value: &ArgValue) -> String {
    match value {
        ArgValue::Null => String::new(),
        ArgValue::Bool(true) => "True".to_owned(),
        ArgValue::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: impl IntoIterator<Item = ArgValue>) -> ArgValue {
        ArgValue::List(items.into_iter().collect())
    }

    fn ints(values: &[i64]) -> ArgValue {
        list(values.iter().map(|&value| ArgValue::Int(value)))
    }

    fn texts(values: &[&str]) -> ArgValue {
        list(values.iter().map(|&value| ArgValue::Text(value.to_owned())))
    }

    #[test]
    fn arguments_become_inputs() {
        let dims = list([ints(&[2, 3]), ints(&[]), list([ints(&[4]), ints(&[5])]), ints(&[]), ints(&[])]);
        let args = vec![
            ("Input Dims".to_owned(), dims),
            ("Input type".to_owned(), texts(&["c10::BFloat16", "double", "TensorList", "Scalar", ""])),
            ("Concrete Inputs".to_owned(), texts(&["", "", "", "[1, -2]", ""])),
        ];
        let found = Operator::from_args("aten::thing", &args);
        let expected = Operator::new("aten::thing")
            .tensor(&[2, 3], DType::Bf16)
            .tensor(&[], DType::F64)
            .list(&[&[4], &[5]], None)
            .scalar("[1, -2]")
            .absent();
        assert_eq!(found, expected);
        assert_eq!(found.base(), "thing");
        assert_eq!(found.wholes(3), Some(vec![1, -2]));
        assert_eq!(found.shapes_text(), "bf16 [2, 3] fp64 [] 2 tensors, first [4]");
    }

    #[test]
    fn damaged_arguments_are_absent() {
        let args = vec![
            ("Input Dims".to_owned(), list([ints(&[-1]), ArgValue::Null, texts(&["x"])])),
            ("Input type".to_owned(), ArgValue::Int(3)),
        ];
        assert_eq!(Operator::from_args("x", &args).inputs, [Input::Absent, Input::Absent, Input::Absent]);
    }

    #[test]
    fn annotations_of_serving_engines_are_read() {
        let text =
            "execute_8192_context_9(sq8155sk8430sqsq7475785sqsk7671310)_generation_37(sq37sk34489sqsq37sqsk34489)";
        let batch = Batch::parse(text);
        let context = Requests { queries: 8155, keys: 8430, queries_squared: 7_475_785, queries_keys: 7_671_310 };
        let generation = Requests { queries: 37, keys: 34_489, queries_squared: 37, queries_keys: 34_489 };
        assert_eq!(batch, Some(Batch { context, generation }));
        assert_eq!(Batch::parse("execute_context_1(8155)_generation_2(3)"), None);
        assert_eq!(Batch::parse("ProfilerStep#1"), None);
    }
}
