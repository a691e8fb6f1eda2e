//! The programs of the jobs: what each rank's threads do in a step.
//!
//! A step has two halves. The first ends where the host waits for its device (`loss.item()`); all ranks must have
//! launched everything before that, so that the device times can be resolved. The second, the optimizer, runs on
//! into the next step.

use std::io::Write;

use super::config::{Change, Vendor, Workload};
use super::device::{CollectiveSpec, Stream, WorkId};
use super::rank::{Launch, RankSim, Thread};
use super::rng::Rng;
use super::truth::Class;

use Thread::{Autograd, Main};

const GEMM: &str = "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_warpgroupsize1x1x1_execute_segment_k_off_kernel__5x_cublas";
const GEMM_AMD: &str = "Cijk_Alik_Bljk_BBS_BH_Bias_HAS_SAV_UserArgs_MT256x256x64_MI16x16x1_SN_LDSB1_AFC1_AFEM1";
const RELU: &str = "void at::native::vectorized_elementwise_kernel<4, at::native::(anonymous namespace)::launch_clamp_scalar(at::TensorIteratorBase&, c10::Scalar, c10::Scalar, at::native::detail::ClampLimits)::{lambda()#1}::operator()() const::{lambda()#7}::operator()() const::{lambda(float)#1}, std::array<char*, 2ul> >(int, float, std::array<char*, 2ul>)";
const THRESHOLD: &str = "void at::native::vectorized_elementwise_kernel<4, at::native::(anonymous namespace)::threshold_kernel_impl<float>(at::TensorIteratorBase&, float, float)::{lambda(float, float)#1}, std::array<char*, 3ul> >(int, at::native::(anonymous namespace)::threshold_kernel_impl<float>)";
const GELU: &str = "void at::native::vectorized_elementwise_kernel<4, at::native::GeluCUDAKernelImpl(at::TensorIteratorBase&, at::native::GeluType)::{lambda()#1}, std::array<char*, 2ul> >(int, float, std::array<char*, 2ul>)";
const REDUCE: &str = "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float, float, float, float>, unsigned int, float, 4> >(at::native::ReduceOp<float, at::native::MeanOps<float, float, float, float>, unsigned int, float, 4>)";
const SOFTMAX: &str = "void (anonymous namespace)::softmax_warp_forward<float, float, float, 10, true, false>(float*, float const*, int, int, int, bool const*, int, bool)";
const ADAM: &str = "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<at::native::(anonymous namespace)::FusedOptimizerTensorListMetadata<4>, at::native::(anonymous namespace)::FusedAdamMathFunctor<float, 4, (at::native::ADAM_MODE)1, false>, float const*, double, double, double, double, double, bool, float*, float*>(at::native::(anonymous namespace)::FusedOptimizerTensorListMetadata<4>)";
const EMBEDDING: &str = "void split_embedding_codegen_forward_unweighted_v2_kernel<float, float, float, long, 64ul>(float const*, float const*, long const*, long const*, float*)";
const EMBEDDING_BACKWARD: &str = "void split_embedding_backward_codegen_rowwise_adagrad_unweighted_exact_kernel_warp_per_row_1<float, float, long, float, 64ul>(float const*, float*, long const*)";
const INTERACTION: &str = "void gemmSN_TN_kernel<float, 128, 16, 2, 4, 8, 9, false, cublasGemvTensorStridedBatched<float const> >(cublasGemmSmallNParams<float>)";
const PERMUTE: &str = "void permute_2D_data_kernel_vec<false, long, long, float>(int, int, long const*, int const*, long const*, long const*, long*)";
const HTOD: &str = "Memcpy HtoD (Pinned -> Device)";
const DTOH: &str = "Memcpy DtoH (Device -> Pinned)";
const MEMSET: &str = "Memset (Device)";

/// Arrows from forward to backward, and what the second half of a step waits for.
#[derive(Debug, Default)]
pub(super) struct StepState {
    begun: (i64, WorkId),
    arrows: Vec<u64>,
    comm_done: Option<WorkId>,
    item: Option<WorkId>,
}

impl<W: Write> RankSim<'_, W> {
    /// The first half: data, forward, backward, up to the point where the host waits.
    pub fn first_half(&mut self, step: u32) -> StepState {
        let mut state = StepState { begun: self.begin_step(), ..StepState::default() };
        let data = self.load_data();
        match self.config.workload {
            Workload::DataParallel => self.data_parallel(&mut state, data, step),
            Workload::Pipeline => self.pipeline(&mut state, data),
            Workload::Recommendation => self.recommendation(&mut state, data),
        }
        // loss.item(): the copy waits for compute and for the reduced gradients.
        let after = state.comm_done;
        state.item = Some(self.op(Main, "aten::item", |s| {
            s.op(Main, "aten::_local_scalar_dense", |s| {
                let dur = s.device_ns(1_400);
                let (class, stream) = (Class::Copy, Stream::Compute);
                s.launch(
                    Main,
                    Launch { name: DTOH, class, stream, dur, after: [after, None], bytes: 4, collective: None },
                )
            })
        }));
        state
    }

    /// The second half: the host waits, the optimizer is launched, the step ends on the host.
    pub fn second_half(&mut self, step: u32, state: &StepState) {
        self.synchronize(Main, state.item);
        self.optimizer();
        self.count_memory();
        self.end_step(step, state.begun);
    }

    fn gemm(&self) -> &'static str {
        if self.config.vendor == Vendor::Amd { GEMM_AMD } else { GEMM }
    }

    /// Waits for the data loader and copies the batch to the device on a stream of its own.
    fn load_data(&mut self) -> Option<WorkId> {
        self.range(Main, "user_annotation", "enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__", |s| {
            s.frame("torch/utils/data/dataloader.py(1275): _get_data", |s| {
                s.frame("threading.py(355): wait", |s| s.tick(Main, s.config.data_wait_ns));
            });
        });
        let copied = self.op(Main, "aten::to", |s| {
            s.op(Main, "aten::_to_copy", |s| {
                s.allocate(Main, 9_633_792);
                s.op(Main, "aten::copy_", |s| {
                    let dur = s.device_ns(182_000);
                    let (class, stream) = (Class::Copy, Stream::Copy);
                    let what =
                        Launch { name: HTOD, class, stream, dur, after: [None; 2], bytes: 9_633_792, collective: None };
                    s.launch(Main, what)
                })
            })
        });
        self.stream_wait(Main, Stream::Copy);
        Some(copied)
    }

    fn linear_forward(&mut self, index: u32, nanos: i64, after: Option<WorkId>, arrows: &mut Vec<u64>) {
        self.frame(&format!("nn.Module: Linear_{index}"), |s| {
            s.op(Main, "aten::linear", |s| {
                s.op(Main, "aten::addmm", |s| {
                    let arrow = s.forward_point(Main);
                    arrows.push(arrow);
                    s.allocate(Main, 4_194_304);
                    let gemm = s.gemm();
                    s.kernel(Main, gemm, nanos, after);
                });
            });
        });
    }

    fn activation_forward(&mut self) {
        self.op(Main, "aten::relu", |s| {
            s.op(Main, "aten::clamp_min", |s| s.kernel(Main, RELU, 9_000, None));
        });
        for change in &self.config.changes {
            if let Change::MoreOperators { kernel_ns } = *change {
                self.op(Main, "aten::gelu", |s| s.kernel(Main, GELU, kernel_ns, None));
            }
        }
    }

    fn loss(&mut self) {
        self.frame("torch/nn/functional.py(3462): cross_entropy", |s| {
            s.op(Main, "aten::cross_entropy_loss", |s| {
                s.op(Main, "aten::_log_softmax", |s| s.kernel(Main, SOFTMAX, 14_000, None));
                s.op(Main, "aten::nll_loss_nd", |s| s.kernel(Main, REDUCE, 6_000, None));
            });
        });
    }

    /// Runs `body` on the autograd thread while the main thread waits for it.
    fn backward(&mut self, body: impl FnOnce(&mut Self)) {
        self.frame("torch/_tensor.py(570): backward", |s| {
            s.frame("torch/autograd/graph.py(823): _engine_run_backward", |s| {
                let handed = s.tick(Main, 25_000);
                s.wait_until(Autograd, handed);
                body(s);
                let back = s.tick(Autograd, 12_000);
                s.wait_until(Main, back);
            });
        });
    }

    fn linear_backward(&mut self, arrow: Option<u64>, nanos: i64, after: Option<WorkId>) {
        self.op(Autograd, "autograd::engine::evaluate_function: AddmmBackward0", |s| {
            s.op(Autograd, "AddmmBackward0", |s| {
                if let Some(arrow) = arrow {
                    s.backward_point(Autograd, arrow);
                }
                for turn in 0..2 {
                    s.op(Autograd, "aten::mm", |s| {
                        let gemm = s.gemm();
                        s.kernel(Autograd, gemm, nanos, if turn == 0 { after } else { None });
                    });
                }
                s.allocate(Autograd, -4_194_304);
            });
        });
        self.op(Autograd, "torch::autograd::AccumulateGrad", |s| s.tick(Autograd, 1_500));
    }

    fn activation_backward(&mut self) {
        self.op(Autograd, "autograd::engine::evaluate_function: ReluBackward0", |s| {
            s.op(Autograd, "aten::threshold_backward", |s| s.kernel(Autograd, THRESHOLD, 11_000, None));
        });
    }

    // ---- communication ----------------------------------------------------------------------------------------

    fn comm_kernel(&self, name: &str, group: u32) -> &'static str {
        if self.config.vendor == Vendor::Amd {
            return "ncclDevKernel_Generic(ncclDevComm*, unsigned long, ncclWork*)";
        }
        match (name, group) {
            ("allreduce", _) => "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
            _ => "ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)",
        }
    }

    /// Launches a collective of `members` on the communication stream, after all compute launched so far.
    fn collective(
        &mut self,
        thread: Thread,
        group: u32,
        members: Vec<u32>,
        name: &'static str,
        dtype: &'static str,
        bytes: u64,
    ) -> WorkId {
        let key = self.next_collective(group);
        // All members must agree on the time, so it comes from what they share.
        let mut shared = Rng::derived(self.config.seed, &[u64::from(group) + 7_000_000, key.1]);
        let ideal = 18_000.0 + bytes as f64 / 180.0;
        let slower = |change: &Change| if let Change::TransferTime { factor } = *change { factor } else { 1.0 };
        let ideal = ideal * self.config.changes.iter().map(slower).product::<f64>();
        let varied = ideal * (1.0 + self.config.jitter * (2.0 * shared.unit() - 1.0));
        let quantum = self.config.era.quantum_ns();
        let transfer_ns = (varied as i64 / quantum * quantum).max(quantum);
        let kernel = self.comm_kernel(name, group);
        self.range(thread, "user_annotation", &format!("nccl:{name}"), |s| {
            s.op(thread, "record_param_comms", |s| {
                let after = s.stream_wait(thread, Stream::Compute);
                let spec = CollectiveSpec { key, members, name, bytes, dtype, transfer_ns };
                let (class, stream) = (Class::Communication, Stream::Comm);
                let collective = Some(spec);
                s.launch(
                    thread,
                    Launch { name: kernel, class, stream, dur: 0, after: [after, None], bytes: 0, collective },
                )
            })
        })
    }

    fn everyone(&self) -> Vec<u32> {
        (0..self.config.ranks).collect()
    }

    fn all(&mut self, thread: Thread, name: &'static str, dtype: &'static str, bytes: u64) -> WorkId {
        let members = self.everyone();
        self.collective(thread, 0, members, name, dtype, bytes)
    }

    // ---- data parallel ----------------------------------------------------------------------------------------

    fn data_parallel(&mut self, state: &mut StepState, data: Option<WorkId>, step: u32) {
        let layers = self.config.layers;
        let mut arrows = Vec::new();
        self.frame("train.py(118): train_step", |s| {
            s.frame("torch/nn/parallel/distributed.py(1633): forward", |s| {
                s.range(Main, "cpu_op", "DistributedDataParallel.forward", |s| {
                    for layer in 0..layers {
                        let nanos = 62_000 + 4_000 * i64::from(layer % 4);
                        s.linear_forward(layer, nanos, if layer == 0 { data } else { None }, &mut arrows);
                        s.activation_forward();
                    }
                });
            });
            // A name with characters that JSON must escape.
            s.range(Main, "user_annotation", &format!("loss \"step\\{step}\""), |s| s.loss());
            s.backward(|s| {
                for layer in (0..layers).rev() {
                    s.activation_backward();
                    s.linear_backward(arrows.get(layer as usize).copied(), 66_000, None);
                    // A bucket is full every third layer, and at the end.
                    if layer % 3 == 0 {
                        state.comm_done = Some(s.all(Autograd, "allreduce", "Float", 26_214_400));
                    }
                }
            });
            s.stream_wait(Main, Stream::Comm);
        });
        state.arrows = arrows;
    }

    // ---- pipeline ---------------------------------------------------------------------------------------------

    /// Exchanges activations or gradients with a neighbour: both run one kernel that ends together.
    fn exchange(&mut self, peer: u32, name: &'static str) -> WorkId {
        let first = peer.min(self.rank);
        self.collective(Main, 1 + first, vec![first, first + 1], name, "BFloat16", 8_388_608)
    }

    fn stage_forward(&mut self, arrows: &mut Vec<u64>, after: Option<WorkId>) {
        self.frame("megatron/core/pipeline_parallel/schedules.py(211): forward_step", |s| {
            for layer in 0..s.config.layers {
                s.linear_forward(layer, 70_000, if layer == 0 { after } else { None }, arrows);
                s.activation_forward();
            }
            if s.rank + 1 == s.config.ranks {
                s.loss();
            }
        });
    }

    fn stage_backward(&mut self, arrows: Vec<u64>, after: Option<WorkId>) {
        self.backward(|s| {
            for (turn, arrow) in arrows.into_iter().rev().enumerate() {
                s.activation_backward();
                s.linear_backward(Some(arrow), 72_000, if turn == 0 { after } else { None });
            }
        });
    }

    /// One forward, one backward (Narayanan et al., "Efficient large-scale language model training on GPU
    /// clusters", SC 2021): `stages − rank − 1` forwards to fill, then pairs, then the rest of the backwards.
    fn pipeline(&mut self, state: &mut StepState, data: Option<WorkId>) {
        let (stages, rank, batches) = (self.config.ranks, self.rank, self.config.micro_batches.max(1));
        let fill = (stages - rank - 1).min(batches);
        let pairs = batches - fill;
        let (first, last) = (rank == 0, rank + 1 == stages);
        let mut in_flight = std::collections::VecDeque::new();
        let receive = |s: &mut Self| if first { data } else { Some(s.exchange(rank - 1, "recv")) };
        for _ in 0..fill {
            let input = receive(self);
            let mut arrows = Vec::new();
            self.stage_forward(&mut arrows, input);
            in_flight.push_back(arrows);
            if !last {
                self.exchange(rank + 1, "send");
            }
        }
        let mut input = if pairs > 0 { receive(self) } else { None };
        for pair in 0..pairs {
            let mut arrows = Vec::new();
            self.stage_forward(&mut arrows, input);
            in_flight.push_back(arrows);
            // Sends the activation on and receives a gradient in one kernel.
            let gradient = (!last).then(|| self.exchange(rank + 1, "send"));
            let arrows = in_flight.pop_front().unwrap_or_default();
            self.stage_backward(arrows, gradient);
            if !first {
                let back = self.exchange(rank - 1, "send");
                input = (pair + 1 < pairs).then_some(back);
            }
        }
        for _ in 0..fill {
            let gradient = (!last).then(|| self.exchange(rank + 1, "recv"));
            let arrows = in_flight.pop_front().unwrap_or_default();
            self.stage_backward(arrows, gradient);
            if !first {
                self.exchange(rank - 1, "send");
            }
        }
        state.comm_done = self.device.last[Stream::Comm as usize];
        self.stream_wait(Main, Stream::Comm);
    }

    // ---- recommendation ---------------------------------------------------------------------------------------

    fn recommendation(&mut self, state: &mut StepState, data: Option<WorkId>) {
        let layers = self.config.layers;
        let mut arrows = Vec::new();
        self.frame("torchrec/distributed/train_pipeline/train_pipelines.py(523): progress", |s| {
            let input = s.range(Main, "user_annotation", "## input_dist ##", |s| {
                s.op(Main, "fbgemm::permute_2D_sparse_data", |s| s.kernel(Main, PERMUTE, 21_000, data));
                s.all(Main, "all_to_allv", "Long", 2_097_152)
            });
            // The bottom layers run while the indices travel.
            for layer in 0..layers / 2 {
                s.linear_forward(layer, 24_000, None, &mut arrows);
                s.activation_forward();
            }
            s.stream_wait(Main, Stream::Comm);
            s.op(Main, "fbgemm::split_embedding_codegen_lookup_rowwise_adagrad_function", |s| {
                s.kernel(Main, EMBEDDING, 130_000, Some(input));
            });
            let output = s.range(Main, "user_annotation", "## output_dist ##", |s| {
                s.all(Main, "all_to_allv", "Float", 16_777_216)
            });
            s.stream_wait(Main, Stream::Comm);
            s.op(Main, "aten::bmm", |s| s.kernel(Main, INTERACTION, 37_000, Some(output)));
            for layer in layers / 2..layers {
                s.linear_forward(layer, 33_000, None, &mut arrows);
                s.activation_forward();
            }
            s.loss();
            s.backward(|s| {
                for layer in (layers / 2..layers).rev() {
                    s.activation_backward();
                    s.linear_backward(arrows.get(layer as usize).copied(), 35_000, None);
                }
                s.op(Autograd, "BmmBackward0", |s| s.kernel(Autograd, INTERACTION, 52_000, None));
                let gradients = s.all(Autograd, "all_to_allv", "Float", 16_777_216);
                // The bottom layers' gradients are computed while the embedding gradients travel.
                for layer in (0..layers / 2).rev() {
                    s.activation_backward();
                    s.linear_backward(arrows.get(layer as usize).copied(), 26_000, None);
                }
                s.stream_wait(Autograd, Stream::Comm);
                s.op(Autograd, "fbgemm::split_embedding_backward", |s| {
                    s.kernel(Autograd, EMBEDDING_BACKWARD, 160_000, Some(gradients));
                });
                state.comm_done = Some(s.all(Autograd, "allreduce", "Float", 8_388_608));
            });
            s.stream_wait(Main, Stream::Comm);
        });
        state.arrows = arrows;
    }

    // ---- optimizer --------------------------------------------------------------------------------------------

    fn optimizer(&mut self) {
        let chunks = (self.config.layers / 2).max(2);
        self.range(Main, "user_annotation", "Optimizer.step#AdamW.step", |s| {
            s.frame("torch/optim/adamw.py(245): step", |s| {
                if s.config.graphs {
                    let kernels: Vec<(&str, i64)> =
                        (0..chunks * 2).map(|index| (if index % 2 == 0 { ADAM } else { THRESHOLD }, 24_000)).collect();
                    s.launch_graph(Main, &kernels, None);
                } else {
                    s.op(Main, "aten::_fused_adamw_", |s| {
                        for _ in 0..chunks {
                            s.kernel(Main, ADAM, 48_000, None);
                        }
                    });
                }
            });
        });
        self.range(Main, "user_annotation", "Optimizer.zero_grad#AdamW.zero_grad", |s| {
            s.op(Main, "aten::zero_", |s| {
                let dur = s.device_ns(5_000);
                let (class, stream) = (Class::Fill, Stream::Compute);
                s.launch(
                    Main,
                    Launch { name: MEMSET, class, stream, dur, after: [None; 2], bytes: 26_214_400, collective: None },
                )
            });
        });
    }
}
