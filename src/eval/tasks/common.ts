// Metrics that most tasks list. Shared data only.

import type { Metric } from '../task.js';

export const ACC: Metric = { metric: 'acc', aggregation: 'mean', higher_is_better: true };
export const ACC_NORM: Metric = { metric: 'acc_norm', aggregation: 'mean', higher_is_better: true };
