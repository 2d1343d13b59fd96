# What the kernel table is made of: kernels, and plain C++ that both builds of them need. Compiled by nvcc for
# libropeway_cuda.so and by the host compiler for tests/cuda_emulation.
set(ROPEWAY_CUDA_KERNELS
  attention.cu
  attention_bf16.cu
  attention_f16.cu
  attention_mixed.cu
  attention_plain.cu
  combine.cu
  copy_bytes.cu
  copy_pages.cu
  embed.cu
  expert_matmul.cu
  expert_streams.cu
  expert_tiles.cu
  finish_logits.cu
  fp8_experts.cu
  fp8_kernels.cc
  fp8_matmul.cu
  fp8_quantize.cu
  gate.cu
  kernels.cc
  norm.cu
  norm_columns.cu
  norm_vectors.cu
  packed_matmul.cu
  qkv.cu
  qkv_vectors.cu
  route.cu
  sample.cu
  score.cu
  stream_matmul.cu
  take_tokens.cu
  unpack.cu
)
# Likewise kernels for warpgroups, whose instructions compute capability 9.0 alone has (sm_90a), and for bulk copies: they
# are compiled for it and nothing else, and launched on no other device.
set(ROPEWAY_CUDA_WARPGROUP_KERNELS attention_decode.cu attention_warpgroup.cu dense_warpgroup.cu fp8_warpgroup.cu
  packed_warpgroup.cu stream_bulk.cu)
