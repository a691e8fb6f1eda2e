//! What CUPTI's functions return.

/// A `CUptiResult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct CuptiResult(pub i32);

macro_rules! results {
    ($($(#[$doc:meta])* $name:ident = $number:literal $meaning:literal;)*) => {
        impl CuptiResult {
            $($(#[$doc])* pub const $name: CuptiResult = CuptiResult($number);)*

            /// The cause in words, with what to do where something can be done.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(CuptiResult::$name => $meaning,)*
                    _ => "CUPTI gives no reason that is known here",
                }
            }
        }
    };
}

results! {
    /// It worked.
    SUCCESS = 0 "it worked";
    /// A wrong argument.
    INVALID_PARAMETER = 1 "an argument is not known to this version of CUPTI";
    /// Not possible now.
    INVALID_OPERATION = 7 "it is not possible at this point of the program";
    /// No memory.
    OUT_OF_MEMORY = 8 "there is not enough memory";
    /// One subscriber only, in old versions.
    MAX_LIMIT_REACHED = 12 "another profiler uses CUPTI in this process; stop it, or record without GPU work";
    /// Old and new interfaces were mixed.
    NOT_COMPATIBLE = 14 "another tool in this process uses the newer interface of CUPTI, which does not go together with this one";
    /// No driver.
    NOT_INITIALIZED = 15 "the CUDA driver could not be used by CUPTI; is the driver as new as the CUDA of the program?";
    /// No further record in a buffer.
    MAX_RECORDS = 18 "there is no further record";
    /// Not an activity kind.
    INVALID_KIND = 21 "this version of CUPTI does not have this kind of record";
    /// Not supported here.
    NOT_SUPPORTED = 27 "this device or driver does not support it";
    /// A virtual GPU.
    VIRTUALIZED_DEVICE_NOT_SUPPORTED = 33 "CUPTI does not work on this virtual GPU";
    /// Permissions.
    INSUFFICIENT_PRIVILEGES = 35 "the driver allows profiling to administrators only (NVreg_RestrictProfilingToAdminUsers)";
    /// The old profiler of the driver is on.
    OLD_PROFILER_API_INITIALIZED = 36 "the program started the old CUDA profiler; unset CUDA_PROFILE and the like";
    /// The old profiler is not there.
    LEGACY_PROFILER_NOT_SUPPORTED = 38 "this GPU is too new for the old profiling interface";
    /// Another subscriber.
    MULTIPLE_SUBSCRIBERS = 39 "another profiler uses CUPTI in this process; stop it, or record without GPU work";
    /// A virtual GPU without permission.
    VIRTUALIZED_DEVICE_INSUFFICIENT_PRIVILEGES = 40 "the host of this virtual GPU does not allow profiling";
    /// Confidential computing.
    CONFIDENTIAL_COMPUTING_NOT_SUPPORTED = 41 "CUPTI does not work with confidential computing here";
    /// Mining GPUs.
    CMP_DEVICE_NOT_SUPPORTED = 42 "CUPTI does not work on this kind of GPU";
    /// A part of a GPU.
    MIG_DEVICE_NOT_SUPPORTED = 43 "CUPTI does not work on this MIG device";
    /// Linked GPUs.
    SLI_DEVICE_NOT_SUPPORTED = 44 "CUPTI does not work on linked GPUs";
    /// Windows Subsystem for Linux.
    WSL_DEVICE_NOT_SUPPORTED = 45 "CUPTI does not work on this GPU under WSL";
    /// Anything.
    UNKNOWN = 999 "CUPTI failed without a reason; is the driver as new as the CUDA of the program?";
}

impl CuptiResult {
    /// Whether it worked.
    pub fn is_success(self) -> bool {
        self == CuptiResult::SUCCESS
    }

    /// Whether another tool holds the one place for a subscriber.
    pub fn is_taken(self) -> bool {
        matches!(self, CuptiResult::MULTIPLE_SUBSCRIBERS | CuptiResult::MAX_LIMIT_REACHED)
    }
}

impl std::fmt::Display for CuptiResult {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} (CUPTI error {})", self.meaning(), self.0)
    }
}
