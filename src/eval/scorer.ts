// The narrow waist of evaluation: a harness needs nothing of a model but these three methods, and a model (or a server)
// nothing of a task. Types only, after lm-evaluation-harness's `LM` (api/model.py). Implementations: local.ts, http.ts.

/** How likely is `continuation` after `context`? The text as the task gives it: white space between them is part of one or the other. */
export interface LoglikelihoodRequest {
  readonly context: string;
  readonly continuation: string;
}

/** How likely a continuation was. */
export interface Loglikelihood {
  /** Sum of the continuation's token log-probabilities, natural logarithm. */
  readonly logprob: number;
  /** Whether each token of it is the most probable one. */
  readonly greedy: boolean;
  /** Tokens of context and continuation that did not fit the model's context and were cut off on the left. */
  readonly truncated?: number;
}

/** A text to go on with. */
export interface GenerateRequest {
  readonly context: string;
  /** The answer ends before the first of these. */
  readonly until: readonly string[];
  /** New tokens at most. */
  readonly maxTokens: number;
  /** 0 is greedy. */
  readonly temperature?: number;
  /** Ids that make up this probability are drawn from; 1 unless given. */
  readonly topP?: number;
  /** Which of several samples of one prompt this is: another one for each, the same each time; 0 unless given. */
  readonly sample?: number;
}

/** How a call of a scorer is followed and ended. */
export interface ScorerOptions {
  /** Called as requests are done; requests may be done in any order. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** What is evaluated: a model here, or one at a server. */
export interface Scorer {
  /** For reports and caches: what is being measured, down to precision. */
  readonly name: string;
  /** Answers in the order of the requests. */
  loglikelihood(requests: readonly LoglikelihoodRequest[], options?: ScorerOptions): Promise<Loglikelihood[]>;
  /** Log-probability of whole texts in disjoint windows, each token scored once; for perplexities. */
  loglikelihoodRolling(texts: readonly string[], options?: ScorerOptions): Promise<number[]>;
  /** Greedy or drawn continuations, in the order of the requests, without the text that ended them. */
  generateUntil(requests: readonly GenerateRequest[], options?: ScorerOptions): Promise<string[]>;
}
