"""The peer of the train benchmark: PyTorch in eager mode, as a child process: JSON lines in on stdin, one JSON line out for each.

    {"cmd": "load", "config": {...}, "tokens": [...], "targets": [...], "length": 512, "threads": 2, "options": {...}} -> {parameters}
        with "adapter": {"r": 32, "alpha": 32, "dropout": 0.1} it is PEFT's LoRA on all linears and the embedding that learns
    {"cmd": "step", "steps": n} -> {seconds, loss, gradNorm, peakBytes}: of n steps together, of the last one, VmHWM so far;
        with "exact": true the norm is summed in f64 for comparing, as PyTorch's own is up to 1e-3 off for a large table
    {"cmd": "exit"}             -> ends

A failure answers {"error"}. The model is OpenELM as CoreNet trains it, in the form that is fastest here in eager mode: SDPA with
is_causal, fused AdamW, gradients set to None. `config` is our ModelConfig; weights come from a formula that bench/train-own.mjs has too.
"""

import json
import sys
import time


def load_torch():
    try:
        import torch
    except ImportError as error:
        raise RuntimeError(f"{sys.executable} has no PyTorch ({error}); set OPENELM_BENCH_PYTHON to a Python that has") from error
    return torch


def initial_values(torch, count, tensor_index, bound):
    """Uniform in [-bound, bound) from a hash of index and tensor, in pieces so that temporaries stay small."""
    out = torch.empty(count)
    for start in range(0, count, 1 << 18):
        end = min(count, start + (1 << 18))
        x = (torch.arange(start, end) * 2654435761 + tensor_index * 40503) & 0xFFFFFFFF
        x = ((x ^ (x >> 15)) * 2246822519) & 0xFFFFFFFF
        x = ((x ^ (x >> 13)) * 3266489917) & 0xFFFFFFFF
        x = x ^ (x >> 16)
        out[start:end] = ((x >> 8).float() / (1 << 23) - 1) * bound
    return out


def build(torch, config):
    from torch import nn
    from torch.nn import functional as F

    eps, head_dim = config["normEps"], config["headDim"]

    class RMSNorm(nn.Module):  # as CoreNet's; nn.RMSNorm is no faster here
        def __init__(self, width, eps):
            super().__init__()
            self.weight, self.eps = nn.Parameter(torch.empty(width)), eps

        def forward(self, x):
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight

    def rotate(x, cos, sin):
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat((-second, first), dim=-1) * sin

    class Layer(nn.Module):
        def __init__(self, shape):
            super().__init__()
            width, ffn = config["modelDim"], shape["ffnDim"]
            self.query_heads, self.kv_heads = shape["queryHeads"], shape["kvHeads"]
            self.attn_norm = RMSNorm(width, eps)
            self.qkv_proj = nn.Linear(width, shape["qkvDim"], bias=False)
            self.q_norm = RMSNorm(head_dim, eps)
            self.k_norm = RMSNorm(head_dim, eps)
            self.out_proj = nn.Linear(self.query_heads * head_dim, width, bias=False)
            self.ffn_norm = RMSNorm(width, eps)
            self.proj_1 = nn.Linear(width, 2 * ffn, bias=False)
            self.proj_2 = nn.Linear(ffn, width, bias=False)

        def forward(self, x, cos, sin):
            batch, length, _ = x.shape
            qkv = self.qkv_proj(self.attn_norm(x))
            qkv = qkv.view(batch, length, self.query_heads + 2 * self.kv_heads, head_dim).transpose(1, 2)
            q, k, v = qkv.split((self.query_heads, self.kv_heads, self.kv_heads), dim=1)
            q, k = rotate(self.q_norm(q), cos, sin), rotate(self.k_norm(k), cos, sin)
            groups = self.query_heads // self.kv_heads
            k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
            gate, up = self.proj_1(self.ffn_norm(x)).chunk(2, dim=-1)
            return x + self.proj_2(F.silu(gate) * up)

    class OpenELM(nn.Module):
        def __init__(self):
            super().__init__()
            self.token_embeddings = nn.Embedding(config["vocabSize"], config["modelDim"])
            self.layers = nn.ModuleList(Layer(shape) for shape in config["layers"])
            self.norm = RMSNorm(config["modelDim"], eps)

        def forward(self, ids, cos, sin):
            x = self.token_embeddings(ids)
            for layer in self.layers:
                x = layer(x, cos, sin)
            return F.linear(self.norm(x), self.token_embeddings.weight)

    with torch.device("meta"):  # no time and memory for values that are replaced
        model = OpenELM()
    model.to_empty(device="cpu")
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            if parameter.dim() == 1:
                parameter.copy_(1 + initial_values(torch, parameter.numel(), index, 0.1))
            else:
                bound = (3 / parameter.shape[1]) ** 0.5
                parameter.copy_(initial_values(torch, parameter.numel(), index, bound).view(parameter.shape))
    return model


def adapted(model, options):
    from peft import LoraConfig, get_peft_model

    targets = ["token_embeddings", "qkv_proj", "out_proj", "proj_1", "proj_2"]
    config = LoraConfig(r=options["r"], lora_alpha=options["alpha"], lora_dropout=options["dropout"], target_modules=targets)
    return get_peft_model(model, config)


class Trainer:
    def __init__(self, message):
        self.torch = torch = load_torch()
        torch.set_num_threads(message["threads"])
        config, length, self.options = message["config"], message["length"], message["options"]
        self.device = torch.device(message.get("device", "cpu"))
        if self.device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = False
            torch.backends.cudnn.allow_tf32 = False
        self.ids, self.targets = (torch.tensor(message[name], device=self.device).view(-1, length) for name in ("tokens", "targets"))
        self.model = build(torch, config).to(self.device)
        inverse = 1 / config["ropeFreqConstant"] ** (torch.arange(0, config["headDim"], 2) / config["headDim"])
        angles = torch.outer(torch.arange(length).float(), inverse).repeat(1, 2)
        self.cos, self.sin = angles.cos().to(self.device), angles.sin().to(self.device)
        if message.get("adapter"):
            self.model = adapted(self.model, message["adapter"])
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.trained = parameters
        decay = self.options["weightDecay"]
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": decay},
            {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
        ]
        betas = (self.options["beta1"], self.options["beta2"])
        self.optimizer = torch.optim.AdamW(groups, lr=self.options["learningRate"], betas=betas, eps=self.options["eps"], fused=True)
        self.parameters = sum(p.numel() for p in parameters)

    def step(self, exact):
        torch = self.torch
        logits = self.model(self.ids, self.cos, self.sin).flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(logits, self.targets.flatten())
        loss = loss + self.options["zLoss"] * torch.logsumexp(logits, dim=-1).square().mean()
        loss.backward()
        exact_norm = self.exact_norm() if exact else None
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.options["maxGradNorm"])
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item(), exact_norm or norm.item()

    def exact_norm(self):
        chunks = (chunk for p in self.trained for chunk in p.grad.flatten().split(1 << 18))
        return sum(chunk.double().square().sum().item() for chunk in chunks) ** 0.5

    def steps(self, count, exact):
        began = time.perf_counter()
        for _ in range(count):
            loss, norm = self.step(exact)
        return {"seconds": time.perf_counter() - began, "loss": loss, "gradNorm": norm, "peakBytes": self.peak_bytes()}

    def peak_bytes(self):
        return self.torch.cuda.max_memory_reserved() if self.device.type == "cuda" else resident_peak()


def resident_peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def make_trainer(message):
    if not message.get("pairs"):
        return Trainer(message)
    from dpo import preference_trainer  # needs TRL

    return preference_trainer(Trainer)(message)


def main():
    trainer = None
    for line in sys.stdin:
        message = json.loads(line)
        if message["cmd"] == "exit":
            return
        try:
            if message["cmd"] == "load":
                trainer = make_trainer(message)
                answer = {"parameters": trainer.parameters}
            else:
                answer = trainer.steps(message["steps"], message.get("exact", False))
        except Exception as error:  # noqa: BLE001 - the benchmark says it
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


main()
