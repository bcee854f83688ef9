"""The peer of the formats benchmark: MODEL_DIR (Hugging Face's OpenELM, one f16 file) to OUT as GGUF Q8_0 with the gguf package.

Its own quantizer and writer, tensor by tensor, without metadata of a model or a vocabulary; synced to the disk, as ours is.
"""

import os
import sys

import numpy
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from safetensors import safe_open

source, out = sys.argv[1:]
writer = GGUFWriter(out, "openelm")
with safe_open(f"{source}/model.safetensors", "np") as tensors:
    for name in tensors.keys():
        values = tensors.get_tensor(name).astype(numpy.float32)
        if values.ndim == 1:
            writer.add_tensor(name, values)
            continue
        for i, part in enumerate(numpy.split(values, 2) if "proj_1" in name else [values]):
            data = quantize(part, GGMLQuantizationType.Q8_0)
            writer.add_tensor(f"{name}.{i}", data, raw_dtype=GGMLQuantizationType.Q8_0)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
file = os.open(out, os.O_RDWR)
os.fsync(file)
