//! Names that people recognise: short names, calls of any vendor's runtime.

use rustc_hash::FxHashMap;

/// Strings of both sides by number.
#[derive(Debug, Default)]
pub(crate) struct Names {
    by_text: FxHashMap<String, u32>,
    texts: Vec<String>,
}

impl Names {
    pub fn of(&mut self, text: &str) -> u32 {
        if let Some(&id) = self.by_text.get(text) {
            return id;
        }
        let id = self.texts.len() as u32;
        self.texts.push(text.to_owned());
        self.by_text.insert(text.to_owned(), id);
        id
    }

    pub fn text(&self, id: u32) -> &str {
        self.texts.get(id as usize).map_or("", String::as_str)
    }
}

/// A kernel's function and what its template arguments add: `vectorized_elementwise_kernel<launch_clamp_scalar>`.
pub(crate) fn short_kernel(name: &str) -> String {
    let name = name.strip_prefix("void ").unwrap_or(name);
    if name.starts_with("Cijk_") {
        // AMD's library puts all its parameters into the name; the size of the tile tells.
        let tile = name.split('_').find(|part| part.starts_with("MT")).unwrap_or_default();
        return format!("Cijk {tile}").trim_end().to_owned();
    }
    if name.starts_with("Memcpy") || name.starts_with("Memset") || !name.contains(['<', '(']) {
        return name.to_owned();
    }
    let without = name.replace("(anonymous namespace)::", "").replace("<unnamed>::", "");
    let end = without.find(['<', '(']).unwrap_or(without.len());
    let head = without.get(..end).unwrap_or(&without);
    let function = head.rsplit("::").next().unwrap_or(head);
    let rest = without.get(end..).unwrap_or_default();
    let telling = rest.split(|c: char| !c.is_alphanumeric() && c != '_').find(|word| {
        let known = ["Functor", "_kernel_cuda", "_kernel_impl", "launch_", "Ops", "direct_copy"];
        *word != function && known.iter().any(|part| word.contains(part)) && !word.starts_with("FusedOptimizerTensor")
    });
    match telling {
        Some(word) => format!("{function}<{word}>"),
        None => function.to_owned(),
    }
}

/// What a call of a device runtime does, whoever's runtime: `cuLaunchKernelEx` and `hipLaunchKernel` are both
/// `LaunchKernel`.
pub(crate) fn call_family(name: &str) -> &str {
    let rest = ["cuda", "hip", "cu", "musa"].iter().find_map(|vendor| name.strip_prefix(vendor)).unwrap_or(name);
    if rest.contains("LaunchKernel") || rest.contains("LaunchCooperative") || rest.contains("ModuleLaunch") {
        "LaunchKernel"
    } else if rest.starts_with("Memcpy") {
        "Memcpy"
    } else if rest.starts_with("Memset") {
        "Memset"
    } else if rest.starts_with("GraphLaunch") {
        "GraphLaunch"
    } else {
        rest
    }
}

/// A name without what differs from run to run: numbers of steps, addresses, line numbers.
pub(crate) fn stable(name: &str) -> String {
    let name = name.split(" at 0x").next().unwrap_or(name);
    let mut text = String::with_capacity(name.len());
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '(' && letters.peek().is_some_and(char::is_ascii_digit) {
            // `train.py(118): step`: the line moves when the file is edited.
            while letters.next_if(char::is_ascii_digit).is_some() {}
            if letters.next_if_eq(&')').is_none() {
                text.push('(');
            }
        } else {
            text.push(letter);
        }
    }
    text
}

/// [`stable`], and all numbers alike: names of annotations count steps, batches and epochs.
pub(crate) fn without_numbers(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for letter in stable(name).chars() {
        if !letter.is_ascii_digit() {
            text.push(letter);
        } else if !text.ends_with('#') {
            text.push('#');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_keep_what_tells() {
        let relu = "void at::native::vectorized_elementwise_kernel<4, at::native::(anonymous namespace)::launch_clamp_scalar(at::TensorIteratorBase&)::{lambda()#1}>(int)";
        assert_eq!(short_kernel(relu), "vectorized_elementwise_kernel<launch_clamp_scalar>");
        assert_eq!(short_kernel("volta_sgemm_128x32_nt"), "volta_sgemm_128x32_nt");
        assert_eq!(short_kernel("Memcpy HtoD (Pinned -> Device)"), "Memcpy HtoD (Pinned -> Device)");
        assert_eq!(short_kernel("void f<int>(int)"), "f");
        assert_eq!(short_kernel("Cijk_Alik_Bljk_BBS_BH_MT256x256x64_MI16x16x1_SN"), "Cijk MT256x256x64");
    }

    #[test]
    fn names_lose_what_differs_from_run_to_run() {
        assert_eq!(stable("train.py(118): step"), "train.py: step");
        assert_eq!(stable("<built-in method f of object at 0x7f00>"), "<built-in method f of object");
        assert_eq!(without_numbers("loss 12 of 3"), "loss # of #");
        assert_eq!(call_family("hipLaunchKernel"), call_family("cuLaunchKernelEx"));
        assert_eq!(call_family("cudaStreamSynchronize"), "StreamSynchronize");
    }
}
