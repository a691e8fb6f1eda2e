//! Element types of tensors, as traces write them.

use serde::Serialize;

/// Type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DType {
    /// Two doubles.
    Complex128,
    /// Two floats.
    Complex64,
    /// 64-bit floating point.
    F64,
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point.
    F16,
    /// Brain floating point.
    Bf16,
    /// Any 8-bit floating point.
    F8,
    /// Any 4-bit floating point.
    F4,
    /// 64-bit integer.
    I64,
    /// 32-bit integer.
    I32,
    /// 16-bit integer.
    I16,
    /// 8-bit integer.
    I8,
    /// Truth value, one byte.
    Bool,
}

impl DType {
    /// The type that a trace names: C++ (`c10::BFloat16`, `long int`), Python (`torch.bfloat16`) or NCCL (`Float`).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix("c10::").or_else(|| text.strip_prefix("torch.")).unwrap_or(text);
        let plain: String =
            text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
        Some(match plain.as_str() {
            "complexdouble" | "complex128" => Self::Complex128,
            "complexfloat" | "complex64" => Self::Complex64,
            "double" | "float64" | "fp64" => Self::F64,
            "float" | "float32" | "fp32" => Self::F32,
            "half" | "float16" | "fp16" => Self::F16,
            "bfloat16" | "bf16" => Self::Bf16,
            "long" | "longint" | "int64" | "uint64" | "unsignedlong" | "longlong" => Self::I64,
            "int" | "int32" | "uint32" | "unsignedint" | "qint32" => Self::I32,
            "short" | "shortint" | "int16" | "uint16" => Self::I16,
            "signedchar" | "unsignedchar" | "char" | "byte" | "int8" | "uint8" | "qint8" | "quint8" => Self::I8,
            "bool" => Self::Bool,
            _ if plain.starts_with("float8") || plain.starts_with("fp8") => Self::F8,
            _ if plain.starts_with("float4") || plain.starts_with("fp4") || plain.starts_with("mxfp4") => Self::F4,
            _ => return None,
        })
    }

    /// Bytes of one element; a half for the 4-bit types.
    #[must_use]
    pub const fn bytes(self) -> f64 {
        match self {
            Self::Complex128 => 16.0,
            Self::Complex64 | Self::F64 | Self::I64 => 8.0,
            Self::F32 | Self::I32 => 4.0,
            Self::F16 | Self::Bf16 | Self::I16 => 2.0,
            Self::F8 | Self::I8 | Self::Bool => 1.0,
            Self::F4 => 0.5,
        }
    }

    /// A short name for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Complex128 => "complex128",
            Self::Complex64 => "complex64",
            Self::F64 => "fp64",
            Self::F32 => "fp32",
            Self::F16 => "fp16",
            Self::Bf16 => "bf16",
            Self::F8 => "fp8",
            Self::F4 => "fp4",
            Self::I64 => "int64",
            Self::I32 => "int32",
            Self::I16 => "int16",
            Self::I8 => "int8",
            Self::Bool => "bool",
        }
    }

    /// Whether it is a floating-point type of a real number.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::Bf16 | Self::F8 | Self::F4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_traces_are_understood() {
        let cases = [
            ("c10::BFloat16", Some((DType::Bf16, 2.0))),
            ("c10::Half", Some((DType::F16, 2.0))),
            ("float", Some((DType::F32, 4.0))),
            ("long int", Some((DType::I64, 8.0))),
            ("unsigned char", Some((DType::I8, 1.0))),
            ("c10::Float8_e4m3fn", Some((DType::F8, 1.0))),
            ("c10::complex<float>", Some((DType::Complex64, 8.0))),
            ("Float4_e2m1fn_x2", Some((DType::F4, 0.5))),
            ("Scalar", None),
            ("TensorList", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(DType::parse(text).map(|dtype| (dtype, dtype.bytes())), expected, "{text}");
        }
    }
}
