"""A step of TRL's DPOTrainer for the train benchmark (train.py): the same model and optimizer, TRL's own loss and metrics.

"pairs": {"prompts": [...], "chosen": [...], "rejected": [...], "reference": [...], "beta": 0.01, "promptLength": 256, "answerLength": 128}

All prompts have one length and all answers another, so nothing is padded and no mask is needed; the reference's log-probabilities
are given, as with `precompute_ref_log_probs`. As TRL does it, a prompt is computed once for each of its answers.
"""

import types
from collections import defaultdict


def preference_trainer(base):
    class PreferenceTrainer(base):
        def __init__(self, message):
            import torch
            from trl import DPOTrainer

            pairs = message["pairs"]
            prompt, answer = pairs["promptLength"], pairs["answerLength"]
            prompts = torch.tensor(pairs["prompts"]).view(-1, prompt)
            answers = [torch.tensor(pairs[name]).view(-1, answer) for name in ("chosen", "rejected")]
            ids = torch.cat([torch.cat([prompts, each], dim=1) for each in answers])
            flat = ids.flatten().tolist()
            super().__init__({**message, "tokens": flat, "targets": flat, "length": prompt + answer})
            mask = torch.zeros_like(ids)
            mask[:, prompt:] = 1
            reference = torch.tensor(pairs["reference"]).view(-1, 2)
            self.inputs = {
                "input_ids": ids,
                "attention_mask": torch.ones_like(ids),
                "completion_mask": mask,
                "ref_chosen_logps": reference[:, 0].contiguous(),
                "ref_rejected_logps": reference[:, 1].contiguous(),
            }

            def gathered(value):  # there is one process
                return value

            # What `_compute_loss` reads of a trainer; building a whole one takes a tokenizer and a data set.
            trainer = types.SimpleNamespace(
                model=self.model,
                accelerator=types.SimpleNamespace(device=torch.device("cpu"), gather=gathered, gather_for_metrics=gathered),
                aux_loss_enabled=False,
                ld_alpha=None,
                precompute_ref_logps=True,
                f_divergence_type="reverse_kl",
                loss_types=["sigmoid"],
                loss_weights=[1.0],
                beta=pairs["beta"],
                label_smoothing=0.0,
                use_weighting=False,
                _metrics={"train": defaultdict(list)},
                _total_train_tokens=0,
                _tp_size=1,
            )
            self.compute_loss = lambda: DPOTrainer._compute_loss(trainer, self.forward, self.inputs, False)

        def forward(self, input_ids, attention_mask, use_cache):
            return types.SimpleNamespace(logits=self.model(input_ids, self.cos, self.sin))

        def step(self, exact):
            loss = self.compute_loss()
            loss.backward()
            exact_norm = self.exact_norm() if exact else None
            norm = self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options["maxGradNorm"])
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            return loss.item(), exact_norm or norm.item()

    return PreferenceTrainer
