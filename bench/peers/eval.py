"""The peer of the eval benchmark: lm-evaluation-harness's own HFLM over PyTorch, on an OpenELM written out below.

    python eval.py --model DIR --tokenizer tokenizer.model --data DIR --task hellaswag --shots 0 --limit 200 --batch 8 --threads 2

With --base-url it asks a server instead, by the harness's own local-completions.

Needs torch, transformers, datasets, sentencepiece, safetensors and lm_eval 0.4.13. Datasets are the .jsonl files under --data that
our side reads. Prints one line of JSON: seconds of the evaluation alone (requests, tokenizing, scoring, metrics; not loading the
model and the index of tasks) and, for each document, the log-likelihoods of its choices and its metrics.
"""

import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
import tempfile
import time
import types
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HOME", tempfile.mkdtemp(prefix="openelm-peer-"))


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for packages that lm_eval imports at start and these tasks never call."""

    names = {"evaluate", "sacrebleu", "jsonlines", "pytablewriter", "rouge_score", "sqlitedict", "word2number", "peft", "tqdm_multiprocess"}

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in self.names else None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__path__ = []
        module.__version__ = "0"
        module.__getattr__ = lambda name: (_ for _ in ()).throw(AttributeError(name)) if name.startswith("__") else object
        return module

    def exec_module(self, module):
        pass


sys.meta_path.append(Absent())  # behind the real finders

import datasets  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch import nn  # noqa: E402


class RMSNorm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))

    def forward(self, x):  # in f32, the weight afterwards
        normed = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)
        return normed.type_as(x) * self.weight


class Attention(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.heads, self.kv_heads = config["num_query_heads"][layer], config["num_kv_heads"][layer]
        self.size = config["head_dim"]
        self.qkv_proj = nn.Linear(config["model_dim"], (self.heads + 2 * self.kv_heads) * self.size, bias=False)
        self.out_proj = nn.Linear(self.heads * self.size, config["model_dim"], bias=False)
        self.q_norm, self.k_norm = RMSNorm(self.size), RMSNorm(self.size)

    def forward(self, x, cos, sin):  # x: [batch, tokens, width]
        batch, tokens, _ = x.shape
        qkv = self.qkv_proj(x).view(batch, tokens, -1, self.size).transpose(1, 2)
        q, k, v = qkv.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
        q, k = rotate(self.q_norm(q), cos, sin), rotate(self.k_norm(k), cos, sin)
        groups = self.heads // self.kv_heads
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(out.transpose(1, 2).reshape(batch, tokens, -1))


def rotate(x, cos, sin):
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


class FeedForward(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        divisor, wanted = config["ffn_dim_divisor"], config["ffn_multipliers"][layer] * config["model_dim"]
        width = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
        width += divisor if width < 0.9 * wanted else 0
        self.proj_1 = nn.Linear(config["model_dim"], 2 * width, bias=False)
        self.proj_2 = nn.Linear(width, config["model_dim"], bias=False)

    def forward(self, x):
        gate, up = self.proj_1(x).chunk(2, dim=-1)
        return self.proj_2(F.silu(gate) * up)


class Layer(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.attn, self.ffn = Attention(config, layer), FeedForward(config, layer)
        self.attn_norm, self.ffn_norm = RMSNorm(config["model_dim"]), RMSNorm(config["model_dim"])

    def forward(self, x, cos, sin):
        x = x + self.attn(self.attn_norm(x), cos, sin)
        return x + self.ffn(self.ffn_norm(x))


class OpenELM(nn.Module):
    device = torch.device("cpu")

    def __init__(self, fields):
        super().__init__()
        self.config = types.SimpleNamespace(model_type="openelm", max_position_embeddings=fields["max_context_length"])
        self.transformer = nn.Module()
        self.transformer.token_embeddings = nn.Embedding(fields["vocab_size"], fields["model_dim"])
        self.transformer.layers = nn.ModuleList(Layer(fields, i) for i in range(fields["num_transformer_layers"]))
        self.transformer.norm = RMSNorm(fields["model_dim"])
        size = fields["head_dim"]
        inverse = 1.0 / fields["rope_freq_constant"] ** (torch.arange(0, size, 2).float() / size)
        angles = torch.outer(torch.arange(fields["rope_max_length"]).float(), inverse)
        self.cos, self.sin = (f(torch.cat((angles, angles), dim=-1)) for f in (torch.cos, torch.sin))

    def tie_weights(self):
        pass

    def forward(self, input_ids):
        x = self.transformer.token_embeddings(input_ids)
        cos, sin = self.cos[: input_ids.shape[1]], self.sin[: input_ids.shape[1]]
        for layer in self.transformer.layers:
            x = layer(x, cos, sin)
        return types.SimpleNamespace(logits=F.linear(self.transformer.norm(x), self.transformer.token_embeddings.weight))


def load_model(folder):
    model = OpenELM(json.loads((folder / "config.json").read_text()))
    weights = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
    model.load_state_dict(weights, strict=True)
    return model.float().eval()


def load_tokenizer(file):
    from transformers import AutoTokenizer

    folder = Path(tempfile.mkdtemp(prefix="openelm-peer-"))
    (folder / "tokenizer.model").write_bytes(file.read_bytes())
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
    )
    return AutoTokenizer.from_pretrained(folder)


def served(options):
    """The harness's local-completions: ids with BOS, as HFLM below."""
    if importlib.util.find_spec("tenacity") is None:  # only ever tries again
        folder = Path(tempfile.mkdtemp(prefix="openelm-peer-"))
        (folder / "tenacity.py").write_text(
            "class RetryError(Exception): pass\n"
            "def retry(**_): return lambda function: function\n"
            "def stop_after_attempt(*_, **__): pass\n"
            "wait_exponential = stop_after_attempt\n"
        )
        sys.path.insert(0, str(folder))
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    return LocalCompletionsAPI(
        base_url=options.base_url,
        model=options.served_name,
        tokenizer=load_tokenizer(options.tokenizer).name_or_path,
        tokenizer_backend="huggingface",
        batch_size=options.batch,
        num_concurrent=4,
        max_length=options.max_length,
        add_bos_token=True,
    )


def main():
    parser = argparse.ArgumentParser()
    for name in ("model", "tokenizer", "data"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--task", required=True)
    for name, default in (("shots", 0), ("limit", 200), ("batch", 8), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--base-url")
    parser.add_argument("--served-name")
    parser.add_argument("--max-length", type=int, default=2048)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    def from_folder(path=None, name=None, **_):
        folder = options.data / path / (name or "")
        read = lambda file: [json.loads(line) for line in file.read_text().split("\n") if line]  # noqa: E731
        return datasets.DatasetDict({file.stem: datasets.Dataset.from_list(read(file)) for file in folder.glob("*.jsonl")})

    datasets.load_dataset = from_folder
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    manager = TaskManager()  # reads the index of all tasks, which takes seconds: not timed

    if options.base_url:
        model = served(options)
    else:
        model = HFLM(
            pretrained=load_model(options.model),
            backend="causal",
            tokenizer=load_tokenizer(options.tokenizer),
            batch_size=options.batch,
            add_bos_token=True,
        )
    began = time.perf_counter()
    output = simple_evaluate(
        model=model,
        tasks=[options.task],
        task_manager=manager,
        num_fewshot=options.shots,
        limit=options.limit,
        bootstrap_iters=0,
        log_samples=True,
    )
    seconds = time.perf_counter() - began
    samples = sorted(output["samples"][options.task], key=lambda sample: sample["doc_id"])
    documents = [
        {
            "logprobs": [float(answer[0]) for answer in sample["filtered_resps"]],
            **{name: sample[name] for name in sample["metrics"]},
        }
        for sample in samples
    ]
    print(json.dumps({"seconds": seconds, "documents": documents}))


main()
